from __future__ import annotations

import pytest

from tests.net.harness import LOOPS


@pytest.fixture(params=list(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    """The end-to-end tests run on both loops, since the loops differ."""
    return str(request.param)
