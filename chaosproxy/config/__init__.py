"""YAML to model and back: text in, a frozen Config out, or every error with file, line and column.

    yaml_tree    text to plain data, and where each value stands
    scalars      what a plain scalar means
    environment  `${NAME}` in values
    load         the three together, and the model's readers
    dump         a Config as YAML
    schema       the JSON Schema of the file, for editors
"""

from chaosproxy.config.dump import dump
from chaosproxy.config.load import ConfigError, ConfigFile, LocatedProblem, load, read
from chaosproxy.config.schema import config_schema

__all__ = ["ConfigError", "ConfigFile", "LocatedProblem", "config_schema", "dump", "load", "read"]
