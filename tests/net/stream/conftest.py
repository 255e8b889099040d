from __future__ import annotations

import pytest

from tests.net.stream.virtual import FLAVOURS, Flavour


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Transports differ between the loops."""
    flavour: Flavour = request.param
    return flavour
