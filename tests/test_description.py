"""The product has one description, the same everywhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import chaosproxy
from chaosproxy.cli import main
from chaosproxy.control.api_v1.openapi import openapi_document

ROOT = Path(__file__).parent.parent

PLACES = {
    "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["description"],
    "README.md": (ROOT / "README.md").read_text().splitlines()[2],
    "Dockerfile": re.findall(r'image\.description="([^"]*)"', (ROOT / "Dockerfile").read_text())[0],
    "command line": main.help,
    "OpenAPI": openapi_document()["info"]["description"],
}


@pytest.mark.parametrize("place", PLACES)
def test_the_description_is_that_of_the_package(place: str) -> None:
    assert PLACES[place] == chaosproxy.__doc__
