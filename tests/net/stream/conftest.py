from __future__ import annotations

import pytest

from tests.net.stream.virtual import FLAVOURS, Flavour


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Run each test with the transports of both loops, since they differ."""
    flavour: Flavour = request.param
    return flavour
