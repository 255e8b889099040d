"""Write a Config as YAML text that `load` reads back as an equal Config."""

from __future__ import annotations

from typing import Any

import yaml

from chaosproxy.config.environment import escape
from chaosproxy.config.scalars import resolve
from chaosproxy.model import Config, write_config

__all__ = ["dump"]


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # The library quotes text that YAML 1.1 would read as another type; YAML 1.2 has a few more such
    # texts, such as 1e5. Line ends other than \n survive only as escapes.
    style = None if _is_plain(text) else "'"
    style = style if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _is_plain(text: str) -> bool:
    try:
        return resolve(text) == text
    except ValueError:
        return False


_Dumper.add_representer(str, _text)


def dump(config: Config) -> str:
    """Return the YAML text, without default values. A dollar is doubled, so that it starts no environment reference."""
    data = _escaped(write_config(config))
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20)


def _escaped(data: Any) -> Any:  # Any: JSON
    match data:
        case dict():
            return {key: _escaped(value) for key, value in data.items()}
        case list():
            return [_escaped(value) for value in data]
        case str():
            return escape(data)
        case _:
            return data
