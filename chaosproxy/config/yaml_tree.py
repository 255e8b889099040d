"""Parse YAML text to plain data, and remember the place of each key and value.

`read_tree` composes Nodes from the events of PyYAML's parser. It does not use PyYAML's own
composer and constructors, so that only mappings, lists and scalars are made, and every limit
holds while reading, not after. A Tree holds the root Node and the errors met on the way; a
Node holds its plain data and the marks (line, column) of its keys and children, so that a
Problem with a path can be located later (`Tree.find`).

An error in one value is noted, and reading goes on: the value is `broken`, and the model's
readers are not asked about it. An error in the text itself ends reading (BadYaml). Refused are
duplicate keys, tags, merge keys, several documents, aliases that refer to themselves or expand
beyond `MOST_NODES`, and nesting beyond `DEEPEST`.

Keys are always text, whatever they look like: `8080:` and `on:` too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import yaml

from chaosproxy.config.scalars import Scalar, resolve
from chaosproxy.errors import BadValue, Code, Path, shown

__all__ = ["DEEPEST", "MOST_BYTES", "MOST_NODES", "BadYaml", "Mark", "Tree", "YamlError", "read_tree"]

MOST_BYTES = 2**20
MOST_NODES = 100_000
DEEPEST = 32
_MOST_ERRORS = 1000

Mark: TypeAlias = tuple[int, int]
"""Line and column, both from 1."""
_YamlMark: TypeAlias = "yaml.error.Mark | yaml._yaml.Mark"
Data: TypeAlias = "Scalar | list[Data] | dict[str, Data]"
Expand: TypeAlias = Callable[[str], str]

_CORE = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, tuple[type, ...]] = {
    "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),),
}  # fmt: skip
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.2.2 §5.1
_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(Exception):
    """One error in the text itself."""

    def __init__(self, mark: Mark, code: Code, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.mark, self.code, self.message, self.path = mark, code, message, path


class BadYaml(Exception):
    """The text cannot be read to its end; `errors` holds all errors up to there."""

    def __init__(self, errors: list[YamlError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = errors


@dataclass(slots=True)
class Node:
    """A value and its place."""

    mark: Mark
    data: Data
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)
    nodes: int = 1
    """Number of nodes in it, itself included, with aliases expanded."""
    text: str = ""
    """The text of a scalar, with references expanded."""
    broken: bool = False
    """True if the value was refused and noted; `data` is meaningless then."""


@dataclass(slots=True)
class Tree:
    """A document, and its errors in the order they were met."""

    root: Node
    errors: list[YamlError]

    def find(self, path: Path) -> tuple[Node | None, Mark]:
        """Return the node at a path, or None, and the mark of its key or of the nearest node above it."""
        node, mark = self.root, self.root.mark
        for step in path:
            mark = node.keys.get(str(step), node.mark)
            child = node.children.get(step)
            if child is None:
                return None, mark
            if isinstance(step, int):
                mark = child.mark
            node = child
        return node, mark

    def is_broken(self, path: Path) -> bool:
        """Return whether the value at a path, or a node above it, was refused already."""
        node: Node | None = self.root
        for step in path:
            if node is None or node.broken:
                break
            node = node.children.get(step)
        return node is not None and node.broken


def read_tree(text: bytes, expand: Expand) -> Tree:
    """Read the one document in `text`. Apply `expand`, which may raise BadValue, to every scalar that is a value.

    :raises BadYaml: the text cannot be read to its end.
    """
    errors: list[YamlError] = []
    try:
        return Tree(_Reader(_decoded(text), expand, errors).document(), errors)
    except YamlError as error:
        raise BadYaml([*errors, error]) from None


def _decoded(text: bytes) -> str:
    if len(text) > MOST_BYTES:
        message = f"the file has {len(text)} bytes; use at most {MOST_BYTES} (1 MiB)"
        raise YamlError((1, 1), "too-large", message)
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8-sig", "replace")
        byte = error.object[error.start]
        message = f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        raise YamlError(_mark_after(before), "not-utf-8", message) from None
    if wrong := _UNPRINTABLE.search(decoded):
        message = f"YAML does not allow the character U+{ord(wrong[0]):04X}; use an escape in double quotes"
        raise YamlError(_mark_after(decoded[: wrong.start()]), "not-yaml", message)
    return decoded


def _mark_after(text: str) -> Mark:
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    return len(lines), len(lines[-1]) + 1


class _Reader:
    """Compose nodes from events; `DEEPEST` bounds the depth of the recursion."""

    def __init__(self, text: str, expand: Expand, errors: list[YamlError]) -> None:
        self._events = _events(text)
        self._expand = expand
        self._errors = errors
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def document(self) -> Node:
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise YamlError((1, 1), "empty", "the file is empty; add at least version: 1 and proxies")
        root = self._node(next(self._events), (1, 1), ())
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            message = "a second document begins here; use one document per file"
            self._note(_mark(after), "unsupported-yaml", message, ())
        if root.data is None and not self._errors:
            raise YamlError((1, 1), "empty", "the file is empty; add at least version: 1 and proxies")
        return root

    def _note(self, mark: Mark, code: Code, message: str, path: Path) -> None:
        if len(self._errors) < _MOST_ERRORS:
            self._errors.append(YamlError(mark, code, message, path))

    def _count(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            message = f"the file has more than {MOST_NODES} values, with aliases expanded; use fewer"
            raise YamlError(mark, "too-large", message)

    def _node(self, event: yaml.Event, key_mark: Mark, path: Path) -> Node:
        """Return the node that begins with `event`; a block collection gets the mark of its key."""
        mark = _mark(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), mark, path)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent), event
        self._count(1, mark)
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None  # until it is complete
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, mark, path)
        else:
            if len(path) >= DEEPEST:
                message = f"the file is nested more than {DEEPEST} levels deep; use fewer levels"
                raise YamlError(mark, "too-large", message)
            node = self._collection(event, mark if event.flow_style else key_mark, path)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, anchor: str, mark: Mark, path: Path) -> Node:
        name, node = anchor[:60], self._anchors.get(anchor)
        if node is None:
            inside = f"the alias *{name} is inside its own anchor; use the value itself"
            unknown = f"the alias *{name} has no anchor before it; add &{name} before it"
            if anchor in self._anchors:
                self._note(mark, "unsupported-yaml", inside, path)
            else:
                self._note(mark, "not-yaml", unknown, path)
            return Node(mark, None, broken=True)
        self._count(node.nodes, mark)
        return replace(node, mark=mark)

    def _collection(self, event: yaml.CollectionStartEvent, mark: Mark, path: Path) -> Node:
        node = Node(mark, {} if isinstance(event, yaml.MappingStartEvent) else [])
        name = "map" if isinstance(node.data, dict) else "seq"
        if event.tag not in (None, "!", _CORE + name):
            message = f"the tag {_tag(str(event.tag))} is not allowed; remove it"
            self._note(_mark(event), "unsupported-yaml", message, path)
        if isinstance(node.data, dict):
            self._mapping(node, path)
        else:
            self._sequence(node, path)
        node.nodes += sum(child.nodes for child in node.children.values())
        return node

    def _sequence(self, node: Node, path: Path) -> None:
        items: list[Data] = []
        node.data = items
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            child = self._node(event, _mark(event), (*path, len(items)))
            node.children[len(items)] = child
            items.append(child.data)

    def _mapping(self, node: Node, path: Path) -> None:
        pairs: dict[str, Data] = {}
        node.data = pairs
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, mark = self._key(event, path), _mark(event)
            child = self._node(next(self._events), mark, (*path, key or "?"))
            if key is None:
                continue
            if key in pairs:
                first, _ = node.keys[key]
                message = f"the key {shown(key)} is given twice, first in line {first}; remove one"
                self._note(mark, "duplicate", message, (*path, key))
                continue
            pairs[key], node.keys[key], node.children[key] = child.data, mark, child

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """Return the text of a key; if the node cannot be a key, note the error and return None."""
        mark = _mark(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._note(mark, "wrong-type", "a key must be text; use `key: value`", path)
            if not isinstance(event, yaml.AliasEvent):
                self._node(event, mark, (*path, "?"))
            return None
        self._count(1, mark)
        if event.tag is not None and event.tag != _CORE + "str":
            self._note(mark, "unsupported-yaml", f"the tag {_tag(event.tag)} is not allowed; remove it", path)
        if event.anchor is not None:
            self._anchors[event.anchor] = Node(mark, event.value)
        if event.value == "<<" and not event.style:
            message = "merge keys are not supported; repeat the keys, or use an alias as a whole value"
            self._note(mark, "unsupported-yaml", message, path)
            return None
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, path: Path) -> Node:
        name = (event.tag or "").removeprefix(_CORE)
        try:
            if event.tag not in (None, "!", _CORE + "str") and (event.tag == name or name not in _SCALAR_TAGS):
                raise BadValue("unsupported-yaml", f"the tag {_tag(event.tag)} is not allowed; remove it")
            text = self._expand(event.value)
            plain = name in _SCALAR_TAGS or (event.tag is None and not event.style)
            value = resolve(text) if plain else text
            if name in _SCALAR_TAGS and not isinstance(value, _SCALAR_TAGS[name]):
                message = f"{shown(value)} does not match its tag !!{name}; remove the tag"
                raise BadValue("wrong-type", message)
        except BadValue as bad:
            self._note(mark, bad.code, str(bad), path)
            return Node(mark, None, broken=True)
        return Node(mark, value, text=text)


def _tag(tag: str) -> str:
    return shown("!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag)


def _mark(event: yaml.Event) -> Mark:
    return _place(event.start_mark)


def _place(mark: _YamlMark | None) -> Mark:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _events(text: str) -> Iterator[yaml.Event]:
    """Yield the parser's events.

    :raises YamlError: the text is not YAML.
    """
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except yaml.YAMLError as error:
        raise YamlError((1, 1), "not-yaml", f"the text is not YAML ({error}); correct it") from None


_ADVICE = {
    "cannot start any token": "put the value in quotes, and indent with spaces, not tabs",
    "mapping values are not allowed": "put a value that holds `: ` in quotes, or check the indentation",
    "expected <block end>": "check the indentation",
    "did not find expected key": "check the indentation",
    "could not find expected ':'": "use `key: value`",
}


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    # If the text does not end with a line end, the library reports a missing end one line too far down.
    mark = min(_place(error.problem_mark or error.context_mark), _mark_after(text))
    what = " ".join(part for part in (error.problem, error.context) if part)
    since = error.context_mark
    where = f" that begins in line {since.line + 1}" if since and error.problem_mark and error.context else ""
    advice = next((words for part, words in _ADVICE.items() if part in what), "check quotes, brackets and indentation")
    return YamlError(mark, "not-yaml", f"the text is not YAML: {what}{where}; {advice}")
