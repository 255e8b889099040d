"""Environment references in a text: `${NAME}`, `${NAME:-default}`, `${NAME:?message}`.

`$$` is a literal dollar, and so is a dollar without a brace or dollar after it. As in a shell,
`:-` and `:?` also treat an empty variable as unset (POSIX.1-2017, XCU 2.6.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from chaosproxy.errors import BadValue

__all__ = ["escape", "expand"]

_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<kind>[-?])(?P<word>[^}]*))?\}"
    r"|\{)"  # malformed
)
_FORMS = "${NAME}, ${NAME:-default} or ${NAME:?message}, or $${ for a literal ${"


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return `text` with every reference replaced.

    :raises BadValue: a variable is unset, or a reference is malformed; the message is for the user.
    """
    return _REFERENCE.sub(lambda match: _value(match, environment), text)


def escape(text: str) -> str:
    """Return a text that expands to `text`."""
    return text.replace("$", "$$")


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    name, kind, word = match["name"], match["kind"], match["word"] or ""
    if name is None or "${" in word:
        raise BadValue("malformed", f"malformed environment reference; use {_FORMS}; references cannot be nested")
    value = environment.get(name)
    if kind is None and value is None:
        message = f"the environment variable {name} is not set; set it, or use ${{{name}:-default}}"
        raise BadValue("variable-not-set", message)
    if kind and not value:
        if kind == "?":
            message = f"the environment variable {name} is not set: {word[:200] or 'it is required here'}; set it"
            raise BadValue("variable-not-set", message)
        return word
    return value or ""
