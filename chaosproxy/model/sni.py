"""Which TLS connections a fault touches: those whose client asks for such a name (RFC 6066 §3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from chaosproxy.declare import Problems, Text, param, read_struct
from chaosproxy.errors import Path
from chaosproxy.faults.base import Fault

__all__ = ["SniMatch", "is_sni_match", "read_sni_match"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SniMatch:
    """`match: {sni: …}` of a fault that acts on connections."""

    sni: str = param(Text(253), "the server name that clients ask for in TLS; a glob", example="'*.example.org'")

    def matches(self, name: str | None) -> bool:
        """Whether a client that asks for `name` is meant; one that asks for none is not."""
        return name is not None and fnmatchcase(name.lower(), self.sni.lower())


def is_sni_match(data: object) -> bool:
    """Whether `match` selects connections, not HTTP messages."""
    return isinstance(data, Mapping) and "sni" in data


def read_sni_match(data: object, of: type[Fault], problems: Problems, path: Path) -> SniMatch | None:
    """The match; None, and every problem noted, if it is wrong."""
    if not of.matches_sni:
        message = f"selects connections by what they say, and {of.type} acts before they say anything; leave it out"
        problems.add(path, "not-applicable", message, at_key=True)
        return None
    found = read_struct(SniMatch, data, problems, path)
    if found is not None and not found.sni:
        problems.add((*path, "sni"), "empty", "is empty; give a name such as '*.example.org'")
    return found
