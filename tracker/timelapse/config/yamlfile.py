"""YAML and JSON with line numbers: strict about duplicate keys, and `1e-4` is a number."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from timelapse.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PLAIN_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
_PREFIX = "tag:yaml.org,2002:"
_MERGE = _PREFIX + "merge"
# Aliases of aliases can make a few lines into gigabytes.
_MOST_NODES = 100_000
_DEEPEST = 100
# Python writes none of 4,300 decimal digits, nor reads it, but for those with another base.
_LONGEST_NUMBER = 1000

_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_INT = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_SIGNS_AND_DIGITS = list("-+0123456789")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, less its surprises.

    `1e-4` is a number, as YAML 1.2 has it; dates and `12:30` stay text; keys are text as written; the result
    holds nothing that JSON does not know. It stops at what nobody writes by hand, before it has read it all.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._nodes > _MOST_NODES:
            raise yaml.composer.ComposerError(None, None, f"it has more than {_MOST_NODES} values", mark)
        if self._depth > _DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"it is nested more than {_DEEPEST} deep", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or our loader would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML writes these line ends bare, and reads them as blanks.
        style = '"' if any(char in data for char in "\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar(_PREFIX + "str", data, style=style)


def _whole(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(f"^(?:{pattern.pattern})$")


def _set_up() -> None:
    replaced = {_PREFIX + name for name in ("int", "float", "timestamp", "value")}
    _Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in replaced]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _Loader.yaml_constructors = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in [*(_PREFIX + name for name in _PLAIN_TAGS), None]
    }
    _Dumper.add_representer(str, _Dumper.represent_str)
    for kind in (_Loader, _Dumper):
        kind.add_implicit_resolver(_PREFIX + "int", _whole(_INT), _SIGNS_AND_DIGITS)
        kind.add_implicit_resolver(_PREFIX + "float", _whole(_FLOAT), [*_SIGNS_AND_DIGITS, "."])


_set_up()


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as read: plain data, and where each part of it stands."""

    data: dict[str, Any]
    """Its content; every key is a string."""
    root: yaml.Node | None
    """Its syntax tree; None for JSON that YAML cannot read."""

    def line(self, path: Sequence[str | int]) -> int | None:
        """Return the line of a field, or of the innermost block around it; None for the top level."""
        node, line = self.root, None
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            place, node = found
            line = place.start_mark.line + 1
        return line


def read_document(path: Path) -> Document:
    """Read a YAML file, or a JSON file if its name ends in `.json`.

    Raises:
        ConfigError: there is no such file, or it is empty, no UTF-8, no valid YAML, has a key twice, or is
            not a mapping. Names the file, and the line where there is one; never shows the line itself.
    """
    text = _read(path)
    if path.suffix.lower() != ".json":
        return parse_document(text, str(path))
    return _document(*_from_json(text, path), source=str(path))


def parse_document(text: str, source: str) -> Document:
    """Read YAML that is no file (yet); `source` names it in errors.

    Raises:
        ConfigError: As `read_document`.
    """
    return _document(*_from_yaml(text, source), source=source)


def _document(data: Any, root: yaml.Node | None, *, source: str) -> Document:
    if data is None:
        raise ConfigError(f"{source}: is empty. A configuration names at least model and data.train.")
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected `name: value` lines at the top level, got a {_kind(data)}.")
    return Document(data, root)


def parse_value(text: str, source: str) -> Any:
    """Return the value of a piece of YAML; `source` names it in errors."""
    try:
        return _from_yaml(text, source)[0]
    except ConfigError as error:
        raise ConfigError(f"{error} Put the value in quotes to have it as text.") from None


def dump(data: Any) -> str:
    """Return data as YAML, in its own order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. Looked in {Path.cwd()}.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text. Save the file as UTF-8.") from None


def _from_yaml(text: str, source: str) -> tuple[Any, yaml.Node | None]:
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return None, None
            _check(root, {}, set())
            return loader.construct_document(root), root
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark and "\n" in text else source
        raise ConfigError(f"{place}: is not valid YAML: {error.problem or error.context}.") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"{source}: is not valid YAML: {error.reason} at character {error.position}."
        ) from None
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply.") from None
    except (ValueError, LookupError):  # a tag that does not fit, `!!int abc`, `!!bool x`
        raise ConfigError(f"{source}: is not valid YAML: a value does not fit its tag.") from None


def _check(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """Refuse what plain data cannot hold; return how many nodes there are with aliases written out."""
    if id(node) in above:
        raise _error("a block contains itself", node)
    if node.tag == _PREFIX + "int" and len(node.value) > _LONGEST_NUMBER:
        raise _error(f"a whole number has more than {_LONGEST_NUMBER} digits", node)
    if id(node) not in sizes:
        inner = above | {id(node)}
        sizes[id(node)] = 1 + sum(_check(child, sizes, inner) for child in _children(node))
    if sizes[id(node)] > _MOST_NODES:
        raise _error(f"with its aliases written out it has more than {_MOST_NODES} values", node)
    return sizes[id(node)]


def _children(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        return [value for _, value in node.value]
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _check_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error("a key must be text", key)
        if key.tag == _MERGE:
            continue
        if key.value in lines:
            raise _error(f"key {key.value!r} is there twice, first in line {lines[key.value]}", key)
        lines[key.value] = key.start_mark.line + 1


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        # The last one counts: what a merge brings in stands before the block's own keys.
        return next(((key, value) for key, value in reversed(node.value) if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _from_json(text: str, path: Path) -> tuple[Any, yaml.Node | None]:
    try:
        data = json.loads(text, object_pairs_hook=_unique) if text.strip() else None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}: is not valid JSON: {error.msg}.") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply.") from None
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid JSON: {error}.") from None
    try:
        # Nearly all JSON is YAML, once tabs are gone, which stand between values only.
        return data, yaml.compose(text.replace("\t", " "), Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        return data, None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in pairs:
        if key in data:
            raise ValueError(f"key {key!r} is there twice")
        data[key] = value
    return data


def _kind(data: Any) -> str:
    return "list" if isinstance(data, list) else "single value"
