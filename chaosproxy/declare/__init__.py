"""Declare a parameter once, with its unit, default, range and meaning; use the declaration everywhere.

A *struct* is a frozen dataclass whose fields are made by `param(kind, …)`. From that one
declaration come the reader used by YAML, REST and the command line, the JSON Schema, the
`faults` command and docs/faults.md.

    kinds     the types of values: Duration, Size, Rate, Share, Choice, Struct, Names …
    params    `param()` and `params_of()`: a struct's fields
    foreign   words of other tools, for errors
    reading   read plain data into a struct or a list of Problems; write it back
"""

from chaosproxy.declare.foreign import key_hint, type_hint
from chaosproxy.declare.kinds import (
    MOST_ITEMS,
    Choice,
    Duration,
    Flag,
    Kind,
    ListOf,
    MapOf,
    Number,
    Rate,
    Share,
    Size,
    Struct,
    Text,
    TextOrJson,
    Whole,
    nearest,
    too_many,
)
from chaosproxy.declare.params import Param, param, params_of
from chaosproxy.declare.reading import Problems, read_struct, struct_schema, write_struct, write_value

__all__ = [
    "Choice",
    "Duration",
    "Flag",
    "Kind",
    "ListOf",
    "MOST_ITEMS",
    "MapOf",
    "Number",
    "Param",
    "Problems",
    "Rate",
    "Share",
    "Size",
    "Struct",
    "Text",
    "TextOrJson",
    "Whole",
    "key_hint",
    "nearest",
    "param",
    "params_of",
    "read_struct",
    "struct_schema",
    "too_many",
    "type_hint",
    "write_struct",
    "write_value",
]
