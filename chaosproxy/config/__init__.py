"""Convert YAML to the model and back. The result is a frozen Config, or every error with file, line and column.

    yaml_tree    parse text to plain data; remember the place of each value
    scalars      convert a plain scalar to a number, flag, null or text
    environment  replace `${NAME}` in values
    load         combine the three, and the model's readers
    dump         write a Config as YAML
    schema       the JSON Schema of the file, for editors
"""

from chaosproxy.config.dump import dump
from chaosproxy.config.load import ConfigError, ConfigFile, LocatedProblem, load, read
from chaosproxy.config.schema import config_schema

__all__ = ["ConfigError", "ConfigFile", "LocatedProblem", "config_schema", "dump", "load", "read"]
