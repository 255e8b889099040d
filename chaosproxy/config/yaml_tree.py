"""YAML text to plain data, and where in the text each key and value stands.

Reads the events of the YAML parser itself, so that nothing is constructed but mappings, lists
and scalars, and every bound is kept while reading, not after. Refused, each at its place:
duplicate keys, tags, merge keys, several documents, aliases that refer to themselves or expand
beyond `MOST_NODES`, nesting beyond `DEEPEST`, and whatever is no YAML.

Keys are always text: `8080:` and `on:` name what they look like.
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
    """One thing that is wrong with the text itself."""

    def __init__(self, mark: Mark, code: Code, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.mark, self.code, self.message, self.path = mark, code, message, path


class BadYaml(Exception):
    """The text cannot be read at all; `errors` holds what was wrong up to there."""

    def __init__(self, errors: list[YamlError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = errors


@dataclass(slots=True)
class Node:
    """A value and where it stands."""

    mark: Mark
    data: Data
    children: dict[str | int, Node] = field(default_factory=dict)
    keys: dict[str, Mark] = field(default_factory=dict)
    nodes: int = 1
    """How many there are in it, aliases expanded."""
    text: str = ""
    """Of a scalar, as written, references expanded."""
    broken: bool = False
    """It was refused and noted; `data` stands for nothing."""


@dataclass(slots=True)
class Tree:
    """A document as far as it could be read; `errors` in the order they were met."""

    root: Node
    errors: list[YamlError]

    def find(self, path: Path) -> tuple[Node | None, Mark]:
        """The node at a path, None where there is none; and the mark of its key, or of what comes nearest."""
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
        """Whether the value at a path, or what holds it, was refused: then nothing more is to be said of it."""
        node: Node | None = self.root
        for step in path:
            if node is None or node.broken:
                break
            node = node.children.get(step)
        return node is not None and node.broken


def read_tree(text: bytes, expand: Expand) -> Tree:
    """The one document in `text`; `expand` is applied to every scalar that is a value, and may raise BadValue.

    :raises BadYaml: the text cannot be read at all.
    """
    errors: list[YamlError] = []
    try:
        return Tree(_Reader(_decoded(text), expand, errors).document(), errors)
    except YamlError as error:
        raise BadYaml([*errors, error]) from None


def _decoded(text: bytes) -> str:
    if len(text) > MOST_BYTES:
        message = f"the file has {len(text)} bytes; the most is {MOST_BYTES} (1 MiB)"
        raise YamlError((1, 1), "too-large", message)
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8-sig", "replace")
        byte = error.object[error.start]
        message = f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8"
        raise YamlError(_mark_after(before), "not-utf-8", message) from None
    if wrong := _UNPRINTABLE.search(decoded):
        message = f"the character U+{ord(wrong[0]):04X} may not stand in YAML; write it as an escape in double quotes"
        raise YamlError(_mark_after(decoded[: wrong.start()]), "not-yaml", message)
    return decoded


def _mark_after(text: str) -> Mark:
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    return len(lines), len(lines[-1]) + 1


class _Reader:
    """Composes nodes from events; the depth of its recursion is bounded by `DEEPEST`."""

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
            raise YamlError((1, 1), "empty", "the file is empty; give at least version: 1 and proxies")
        root = self._node(next(self._events), (1, 1), ())
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            message = "a second document begins here; give one document per file"
            self._note(_mark(after), "unsupported-yaml", message, ())
        if root.data is None and not self._errors:
            raise YamlError((1, 1), "empty", "the file is empty; give at least version: 1 and proxies")
        return root

    def _note(self, mark: Mark, code: Code, message: str, path: Path) -> None:
        if len(self._errors) < _MOST_ERRORS:
            self._errors.append(YamlError(mark, code, message, path))

    def _count(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise YamlError(mark, "too-large", f"more than {MOST_NODES} values, aliases expanded; give fewer")

    def _node(self, event: yaml.Event, key_mark: Mark, path: Path) -> Node:
        """The node that begins with `event`; a block collection is said to stand where its key does."""
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
                message = f"nested more than {DEEPEST} levels deep; give something flatter"
                raise YamlError(mark, "too-large", message)
            node = self._collection(event, mark if event.flow_style else key_mark, path)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _alias(self, anchor: str, mark: Mark, path: Path) -> Node:
        name, node = anchor[:60], self._anchors.get(anchor)
        if node is None:
            inside = f"the alias *{name} stands inside what it refers to; give the value itself"
            unknown = f"the alias *{name} has no anchor before it; give &{name} first"
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
            message = f"the tag {_tag(str(event.tag))} is not allowed; leave it out"
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
                message = f"the key {shown(key)} is given twice, first in line {first}; leave one out"
                self._note(mark, "duplicate", message, (*path, key))
                continue
            pairs[key], node.keys[key], node.children[key] = child.data, mark, child

    def _key(self, event: yaml.Event, path: Path) -> str | None:
        """The text of a key; None, and the error noted, if it cannot be one."""
        mark = _mark(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._note(mark, "wrong-type", "a key must be text; write `key: value`", path)
            if not isinstance(event, yaml.AliasEvent):
                self._node(event, mark, (*path, "?"))
            return None
        self._count(1, mark)
        if event.tag is not None and event.tag != _CORE + "str":
            self._note(mark, "unsupported-yaml", f"the tag {_tag(event.tag)} is not allowed; leave it out", path)
        if event.anchor is not None:
            self._anchors[event.anchor] = Node(mark, event.value)
        if event.value == "<<" and not event.style:
            message = "merge keys are not supported; repeat the keys, or give an alias as a whole value"
            self._note(mark, "unsupported-yaml", message, path)
            return None
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, mark: Mark, path: Path) -> Node:
        name = (event.tag or "").removeprefix(_CORE)
        try:
            if event.tag not in (None, "!", _CORE + "str") and (event.tag == name or name not in _SCALAR_TAGS):
                raise BadValue("unsupported-yaml", f"the tag {_tag(event.tag)} is not allowed; leave it out")
            text = self._expand(event.value)
            plain = name in _SCALAR_TAGS or (event.tag is None and not event.style)
            value = resolve(text) if plain else text
            if name in _SCALAR_TAGS and not isinstance(value, _SCALAR_TAGS[name]):
                message = f"{shown(value)} is no {name} as its tag says; leave the tag out"
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
    """The parser's events.

    :raises YamlError: the text is no YAML.
    """
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except yaml.YAMLError as error:
        raise YamlError((1, 1), "not-yaml", f"this is not YAML ({error})") from None


_ADVICE = {
    "cannot start any token": "put the value in quotes, and indent with spaces, not tabs",
    "mapping values are not allowed": "put a value that holds `: ` in quotes, or check the indentation",
    "expected <block end>": "check the indentation",
    "did not find expected key": "check the indentation",
    "could not find expected ':'": "write `key: value`",
}


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> YamlError:
    # The library says a line too many for what is missing at the end of a text without a last line end.
    mark = min(_place(error.problem_mark or error.context_mark), _mark_after(text))
    what = " ".join(part for part in (error.problem, error.context) if part)
    since = error.context_mark
    where = f" that begins in line {since.line + 1}" if since and error.problem_mark and error.context else ""
    advice = next((words for part, words in _ADVICE.items() if part in what), "check quotes, brackets and indentation")
    return YamlError(mark, "not-yaml", f"this is not YAML: {what}{where}; {advice}")
