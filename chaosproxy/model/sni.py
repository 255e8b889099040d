"""Select TLS connections by the server name that the client sends (SNI, RFC 6066 §3)."""

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

    sni: str = param(
        Text(253, shortest=1), "glob for the server name that a client sends in TLS", example="'*.example.org'"
    )

    def matches(self, name: str | None) -> bool:
        """Return whether a client that sends `name` is selected; a client without a name never is."""
        return name is not None and fnmatchcase(name.lower(), self.sni.lower())


def is_sni_match(data: object) -> bool:
    """Return whether `match` selects connections rather than HTTP messages."""
    return isinstance(data, Mapping) and "sni" in data


def read_sni_match(data: object, of: type[Fault], problems: Problems, path: Path) -> SniMatch | None:
    """Read the match; if it is wrong, note all problems and return None."""
    if not of.matches_sni:
        message = f"selects connections by their first data, but {of.type} acts before any data; remove it"
        problems.add(path, "not-applicable", message, at_key=True)
        return None
    return read_struct(SniMatch, data, problems, path)
