"""YAML as chaosproxy reads it (1.2, where `on` is a word), as plain data."""

from __future__ import annotations

from typing import Any

from chaosproxy.config.yaml_tree import read_tree

__all__ = ["plain"]


def plain(text: str) -> Any:
    """The data in `text`, references as they stand."""
    return read_tree(text.encode(), lambda value: value).root.data
