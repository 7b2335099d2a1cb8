"""From a file and `--set` overrides to a checked configuration, and back to a file without secrets."""

from __future__ import annotations

import math
import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from timelapse.config.lora import Lifted, lift_lora
from timelapse.config.model import Config
from timelapse.config.notes import unknown_keys, values_without_effect
from timelapse.config.problems import Problem, describe, problems_of
from timelapse.config.redact import redact
from timelapse.config.yamlfile import Document, dump, parse_value, read_document
from timelapse.errors import ConfigError, SampleError

_VALIDATORS = ("predictions", "validators")
_SETS = ("predictions", "sets")
_PATH_FIELDS = (("data", "train"), ("data", "eval"), ("predictions", "samples_path"))
_FOLDER_FIELDS = (("model", "name"), ("tokenizer", "name"))
_TEMPLATE_FIELD = ("tokenizer", "chat_template")

FieldPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that was read and checked."""

    config: Config
    """The configuration, its paths absolute."""
    notes: tuple[str, ...]
    """What the user should know: keys that are not known, values that have no effect. One sentence each."""
    path: Path
    """The file it came from."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A configuration file as it was read, whatever is wrong with it."""

    path: Path
    """The file."""
    data: dict[str, Any]
    """Its content with overrides, paths absolute, LoRA in one block; not checked."""
    config: Config | None
    """The configuration; None if `problems` leave none."""
    problems: tuple[Problem, ...]
    """What is wrong with its fields."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each; what has no effect only where nothing is wrong."""
    document: Document
    """Where everything stands."""
    changed: tuple[FieldPath, ...]
    """The fields that come from overrides."""

    def located(self, problem: Problem) -> str:
        """Return a problem with the file's line, or with `--set`."""
        if problem.path and _is_override(problem.path, self.changed):
            return f"--set: {problem}"
        line = self.document.line(problem.path)
        return f"{self.path}:{line}: {problem}" if line else f"{self.path}: {problem}"

    def error(self, problems: Iterable[Problem], notes: Iterable[str] = ()) -> ConfigError:
        """Return the error that lists problems, each with its place; notes are its `__notes__`."""
        error = ConfigError("\n".join(map(self.located, problems)))
        for note in notes:
            error.add_note(f"Note: {note}")
        return error

    @contextmanager
    def locating(self) -> Iterator[None]:
        """Give the errors of ours that name a field the place of that field."""
        try:
            yield
        except (ConfigError, SampleError) as error:
            raise self.error(problems_of(error, Config.model_fields)) from error


def load_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> LoadedConfig:
    """Read a configuration from a YAML or JSON file.

    Paths in the file are relative to its folder, paths in overrides to the working directory.

    Args:
        path: The file; JSON if its name ends in `.json`.
        overrides: `a.b=c`, each replaces or adds a value, which is read as YAML.

    Raises:
        ConfigError: the file cannot be read, or fields are wrong. One line for each wrong field, with the
            file's line or `--set`, the field, what was expected and what is there; secrets are not shown.
    """
    reading = read_config(path, overrides)
    if reading.config is None:
        raise reading.error(reading.problems, reading.notes)
    return LoadedConfig(reading.config, reading.notes, reading.path)


def read_config(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Reading:
    """Read a configuration like `load_config`, but hand wrong fields over instead of raising.

    Raises:
        ConfigError: The file cannot be read, or is no YAML or JSON.
    """
    path = Path(path)
    document = read_document(path)
    data, changed = _override(_expand(document.data), overrides)
    return reading_of(path, _with_full_paths(_expand(data), path.parent, changed), document, changed)


def reading_of(
    path: Path, data: Mapping[str, Any], document: Document, changed: Iterable[FieldPath] = ()
) -> Reading:
    """Check the fields of a configuration; of the files that it names it looks at none.

    Args:
        path: The file that it stands in, for messages.
        data: Its content, with overrides.
        document: Where everything stands.
        changed: The fields that come from overrides.
    """
    lifted = lift_lora(_expand(data))
    problems, config = list(lifted.problems), None
    try:
        config = Config.model_validate(lifted.data)
    except ValidationError as error:
        problems += [_as_written(problem, lifted) for problem in describe(error)]
    sound = None if problems else config
    notes = [*lifted.notes, *unknown_keys(lifted.data), *(values_without_effect(sound) if sound else ())]
    return Reading(path, lifted.data, sound, tuple(problems), tuple(notes), document, tuple(changed))


def resolved(config: Config) -> dict[str, Any]:
    """Return the whole configuration as plain JSON data: defaults and unknown keys too, secrets as `***`."""
    dumped: dict[str, Any] = _finite(redact(config.model_dump(mode="json", fallback=str)))
    return dumped


def to_yaml(config: Config | Mapping[str, Any]) -> str:
    """Return the whole configuration as YAML that `load_config` reads again, secrets as `***`.

    A mapping (what a script of one's own was told) is written as it is, secrets as `***`, too.
    """
    return dump(_finite(redact(dict(config))) if isinstance(config, Mapping) else resolved(config))


def _finite(value: Any) -> Any:
    """Return JSON data with `inf` and `nan`, which JSON does not have, as text."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _expand(data: Mapping[str, Any]) -> dict[str, Any]:
    """Write out `model: NAME`, so that an override finds `model.name`."""
    model = data.get("model")
    return {**data, "model": {"name": model}} if isinstance(model, str) else dict(data)


def _override(data: dict[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], list[FieldPath]]:
    changed: list[FieldPath] = []
    for override in overrides:
        name, equals, text = override.partition("=")
        parts = tuple(name.strip().split("."))
        if not equals or not all(parts):
            # Whatever follows the name may be a secret.
            start = re.match(r"[\w.-]*", override)
            raise ConfigError(
                f"--set {start[0] if start else ''}: expected name=value, such as training.max_steps=100."
            )
        data = _replaced(data, parts, parse_value(text, f"--set {name}"), name)
        changed.append(parts)
    return data, changed


def _replaced(data: Mapping[str, Any], parts: Sequence[str], value: Any, name: str) -> dict[str, Any]:
    first, *rest = parts
    if not rest:
        return {**data, first: value}
    inner = {} if data.get(first) is None else data[first]
    if not isinstance(inner, Mapping):
        block = name.removesuffix("." + ".".join(rest))
        raise ConfigError(
            f"--set {name}: {block} is a single value or a list, so nothing can be set inside it."
        )
    return {**data, first: _replaced(inner, rest, value, name)}


def _with_full_paths(data: dict[str, Any], folder: Path, changed: Sequence[FieldPath]) -> dict[str, Any]:
    for parts in (*_PATH_FIELDS, *_FOLDER_FIELDS, _TEMPLATE_FIELD):
        block = data.get(parts[0])
        value = block.get(parts[1]) if isinstance(block, Mapping) else None
        if not isinstance(value, str) or not value or "://" in value:
            continue
        base = Path.cwd() if _is_override(parts, changed) else folder.absolute()
        full = os.path.normpath(base / Path(value).expanduser())
        if _is_path(parts, value, full):
            data = _replaced(data, parts, full, ".".join(parts))
    data = _with_full_set_paths(data, folder, changed)
    return _with_full_schemas(data, Path.cwd() if _is_override(_VALIDATORS, changed) else folder.absolute())


def _with_full_set_paths(data: dict[str, Any], folder: Path, changed: Sequence[FieldPath]) -> dict[str, Any]:
    """Return a configuration whose further sample sets are named by their full paths."""
    block = data.get(_SETS[0])
    sets = block.get(_SETS[1]) if isinstance(block, Mapping) else None
    for name, each in sets.items() if isinstance(sets, Mapping) else ():
        value = each.get("samples_path") if isinstance(each, Mapping) else None
        if isinstance(value, str) and value and "://" not in value:
            parts = (*_SETS, name, "samples_path")
            base = Path.cwd() if _is_override(parts, changed) else folder.absolute()
            full = os.path.normpath(base / Path(value).expanduser())
            data = _replaced(data, parts, full, ".".join(map(str, parts)))
    return data


def _with_full_schemas(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration whose JSON schemas are named by their full paths."""
    block = data.get(_VALIDATORS[0])
    specs = block.get(_VALIDATORS[1]) if isinstance(block, Mapping) else None
    if not isinstance(specs, list):
        return data
    full = [_with_full_schema(spec, folder) for spec in specs]
    return _replaced(data, _VALIDATORS, full, ".".join(_VALIDATORS))


def _with_full_schema(spec: Any, folder: Path) -> Any:
    given = spec.get("json_schema") if isinstance(spec, Mapping) else None
    if isinstance(given, str):
        given = {"schema": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("schema"), str):
        return spec
    path = os.path.normpath(folder / Path(given["schema"]).expanduser())
    return {**spec, "json_schema": {**given, "schema": path}}


def _is_path(parts: tuple[str, str], value: str, full: str) -> bool:
    if parts in _FOLDER_FIELDS:  # else the id of a model on the hub
        return Path(full).is_dir()
    return parts != _TEMPLATE_FIELD or (value.endswith(".jinja") and "\n" not in value)


def _is_override(path: FieldPath, changed: Iterable[FieldPath]) -> bool:
    return any(path[: len(parts)] == parts for parts in changed)


def _as_written(problem: Problem, lifted: Lifted) -> Problem:
    block, *field = problem.path or ("",)
    origin = lifted.origins.get(str(field[0])) if block == "lora" and field else None
    return Problem(("training", origin), problem.text) if origin else problem
