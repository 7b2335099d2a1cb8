"""The checks behind the built-in validators: JSON, a JSON Schema, a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from timelapse.errors import ConfigError
from timelapse.fence import describe
from timelapse.scoring.findings import Finding
from timelapse.scoring.json_schemas import compile_schema
from timelapse.scoring.patterns import compiled, matches
from timelapse.scoring.strict_json import parse, plain

Check = Callable[[str], Sequence[Finding]]
"""A function of an answer that returns what is wrong with it."""
Made = tuple[Check, dict[str, Any]]
"""A check, and the options from which another process makes it."""


def json_check(options: Mapping[str, Any], _folder: Path | None) -> Made:
    """Return the check that an answer is JSON; see `strict_json.parse`."""
    fenced = _switch("json", options, "fenced")
    return (lambda text: parse(text, fenced=fenced)[1]), {"fenced": fenced}


def schema_check(options: Mapping[str, Any], folder: Path | None) -> Made:
    """Return the check that an answer is JSON that fits a schema; a file's path starts from `folder`."""
    fenced, formats = (_switch("json_schema", options, option) for option in ("fenced", "formats"))
    schema = _schema(options.get("schema"), folder or Path())
    find = compile_schema(schema, formats=formats)

    def check(text: str) -> Sequence[Finding]:
        value, found = parse(text, fenced=fenced)
        return found or find(value)

    return check, {"schema": schema, "fenced": fenced, "formats": formats}


def pattern_check(options: Mapping[str, Any], _folder: Path | None) -> Made:
    """Return the check that a pattern matches somewhere in an answer, or with `full` all of it."""
    full, pattern = _switch("regex", options, "full"), options.get("pattern")
    if not isinstance(pattern, str):
        raise ConfigError(
            f"The validator 'regex' needs a pattern, and has {shown(pattern)}. Expected a text, such as "
            "{regex: '^[0-9]+$'}."
        )
    compiled(pattern)

    def check(text: str) -> Sequence[Finding]:
        try:
            passed = matches(pattern, text, full=full)
        except TimeoutError as error:
            return (Finding("$", str(error)),)
        sentence = f"{'does not match' if full else 'nothing matches'} the pattern {pattern!r}"
        return () if passed else (Finding("$", sentence),)

    return check, {"pattern": pattern, "full": full}


def shown(value: Any) -> str:
    """Return a value for a message, cut at 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _schema(given: Any, folder: Path) -> dict[str, Any]:
    """Return a schema in JSON's own values, given as such or as the path of a file."""
    schema, where = given, "schema"
    if isinstance(given, str | PathLike):
        where = str(given)
        schema = _file(where, folder)
    if not isinstance(schema, Mapping):
        raise ConfigError(
            f"The validator 'json_schema' needs a schema, and {where} is {shown(schema)}. Expected the path "
            "of a JSON file that holds an object, or the schema: {json_schema: {schema: {type: object}}}."
        )
    copied: dict[str, Any] = plain(schema, "The schema of the validator 'json_schema'")
    return copied


def _file(name: str, folder: Path) -> Any:
    try:
        text = (folder / Path(name).expanduser()).read_text(encoding="utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:  # no such file, path or home; no UTF-8
        raise ConfigError(
            f"The validator 'json_schema' cannot read its schema {name} ({describe(error)}). Expected a JSON "
            f"file in UTF-8; a relative path starts from {folder.resolve()}."
        ) from error
    value, found = parse(text)
    if found:
        raise ConfigError(
            f"The validator 'json_schema' needs JSON in {name}, but at {found[0].path}: {found[0].message}."
        )
    return value


def _switch(kind: str, options: Mapping[str, Any], option: str) -> bool:
    value = options.get(option, False)
    if not isinstance(value, bool):
        raise ConfigError(f"The validator '{kind}' has {option}: {shown(value)}. Expected true or false.")
    return value
