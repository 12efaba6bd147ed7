"""This module reads YAML as people mean it: `2e-5` is a number, `on` is text, `010` is text, a key occurs once.

PyYAML follows YAML 1.1, where `2e-5` is a string (no dot), `on` is True, `010` is 8, and of two equal keys the
last wins without a word. This loader takes scalars as YAML 1.2's core schema does.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from debft.errors import InputError, disk_failed, first_line, shown

MOST = 10_000_000  # bytes of a file; a device may never end


class _Loader(yaml.SafeLoader):
    """A loader that takes scalars by the patterns below alone. It refuses a key that occurs twice or is no word, and an alias that
    stands for what it lies in.
    """

    yaml_implicit_resolvers: dict = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            alias = self.peek_event()
            node = self.anchors.get(alias.anchor)
            if node is not None and node.end_mark is None:  # PyYAML sets it once all that lies in the node is there
                raise yaml.composer.ComposerError(None, None, f"the alias '*{alias.anchor}' stands for itself", alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"^(?:true|false)$", list("tf")),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def load(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file. Raises InputError with file and line."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
        if len(content) > MOST:
            raise InputError(f"{path}: expected at most {MOST:,} bytes, got more; see that it is the file that was meant")
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected UTF-8 text, got byte 0x{error.object[error.start]:02x} at {error.start}") from None
    except OSError as error:
        if disk_failed(error):
            raise
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    read = parse(text, str(path))
    if not isinstance(read, dict):
        raise InputError(f"{path}: expected a mapping of keys to values, got {shown(read)}")
    return read


def parse(text: str, where: str) -> Any:
    """Read a value from text. Raises InputError with `where`, and the line where that is known."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:  # what PyYAML chokes on
        raise InputError(f"{where}: not valid YAML: {first_line(error)}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{where}{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
