"""Declare a parameter once, with its unit, default, range and meaning; use the declaration everywhere.

A *struct* is a frozen dataclass whose fields are made by `param(kind, …)`. From that one
declaration come the reader used by YAML, REST and the command line, the JSON Schema, the
`faults` command and docs/faults.md.

    kinds     the types of values: Duration, Size, Rate, Share, Choice, Struct, Names …
    params    `param()` and `params_of()`: a struct's fields
    foreign   words of other tools, for errors
    rules     rules across the parameters of a struct, checked and described
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
from chaosproxy.declare.rules import (
    Condition,
    Given,
    HasGiven,
    HasOne,
    Is,
    Not,
    Rule,
    Set,
    broken,
    broken_rules,
    rules_schema,
    values_of,
)

__all__ = [
    "Choice",
    "Condition",
    "Duration",
    "Flag",
    "Given",
    "HasGiven",
    "HasOne",
    "Is",
    "Kind",
    "ListOf",
    "MOST_ITEMS",
    "MapOf",
    "Not",
    "Number",
    "Param",
    "Problems",
    "Rate",
    "Rule",
    "Set",
    "Share",
    "Size",
    "Struct",
    "Text",
    "TextOrJson",
    "Whole",
    "broken",
    "broken_rules",
    "key_hint",
    "nearest",
    "param",
    "params_of",
    "read_struct",
    "rules_schema",
    "struct_schema",
    "too_many",
    "type_hint",
    "values_of",
    "write_struct",
    "write_value",
]
