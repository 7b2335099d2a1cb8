"""JSON Schemas, compiled once: nothing is fetched, and no pattern runs without end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import islice
from typing import Any

from timelapse.errors import ConfigError
from timelapse.fence import attempt, describe
from timelapse.scoring.findings import Finding, findings_at, path_of
from timelapse.scoring.patterns import compiled, matches

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_PROBES: tuple[Any, ...] = (None, True, 0, "", [], {}, {"a": 1})
_MOST_ERRORS = 1_000  # each costs time, and a long answer can have as many as it has characters


def compile_schema(
    schema: Mapping[str, Any], *, formats: bool = False
) -> Callable[[Any], tuple[Finding, ...]]:
    """Return a function from a JSON value to what a schema finds wrong with it, by path.

    Drafts 3 to 2020-12, as `$schema` says; without it 2020-12. References work inside the schema and to the
    published metaschemas. Patterns are those of the package `regex`, with its time limit: one that takes
    longer is the only finding. Of an answer with more than 1,000 errors the first 1,000 are looked at.

    Args:
        schema: The schema, of values that JSON knows.
        formats: Whether `format` is checked, where jsonschema can do so with the packages installed.

    Raises:
        ConfigError: The schema is none, refers to what is not there or to itself without end, or has a bad
            pattern.
    """
    from referencing import Registry

    dialect = _dialect(schema)
    _check_schema(dialect, schema, "$")
    _check_parts(dialect, schema)
    # With its `$schema`, the root would fall back to the stock keywords whenever it is referred to.
    rest = {key: value for key, value in schema.items() if key != "$schema"}
    checker = dialect.FORMAT_CHECKER if formats else None
    checks = _guarded(dialect)(rest, format_checker=checker, registry=Registry())
    for probe in _PROBES:
        _found, error = attempt(partial(checks.is_valid, probe))
        if isinstance(error, RecursionError):
            raise _problem("it refers to itself without end. Let a reference lead into a property or an item")
        if error is not None and not isinstance(error, TimeoutError):
            raise _problem(f"it cannot be checked: {describe(error)}")
    return partial(_check, checks)


def _check(checks: Any, value: Any) -> tuple[Finding, ...]:
    from referencing.exceptions import Unresolvable

    try:
        errors = islice(checks.iter_errors(value), _MOST_ERRORS)
        return findings_at((tuple(each.absolute_path), _message(each)) for each in errors)
    except (TimeoutError, Unresolvable) as error:
        return (Finding("$", f"the schema could not be checked: {error}"),)
    except RecursionError:
        return (Finding("$", "the answer is nested too deeply for the schema"),)


def _message(error: Any) -> str:
    """Return what is wrong; where one of several schemas should fit, also why the nearest does not.

    That is the one which fits furthest into the value: `anyOf` with null is how a value is made optional.
    """
    if not error.context:
        return str(error.message)
    best = max(
        error.context, key=lambda each: (len(each.path), each.validator not in ("type", "const", "enum"))
    )
    return f"{error.message}; nearest: {path_of(tuple(best.absolute_path))}: {best.message}"


def _problem(text: str) -> ConfigError:
    return ConfigError(f"The validator 'json_schema' needs a valid JSON Schema, but {text}.")


def _dialect(schema: Mapping[str, Any]) -> Any:
    """Return jsonschema's class for a schema."""
    from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    if "$schema" not in schema:
        return Draft202012Validator
    named = schema["$schema"]
    found = validator_for(schema, default=None) if isinstance(named, str) else None
    if found is None:
        known = [name for name in REGISTRY if "/meta/" not in name and "vocab" not in name]
        raise _problem(
            f"its $schema {named!r} is not known. Leave it out for draft 2020-12, or give one of "
            + ", ".join(sorted(known))
        )
    return found


def _check_schema(dialect: Any, schema: Any, where: str) -> None:
    """Hold a schema against its metaschema; patterns are checked apart, as `regex` reads them."""
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]

    _none, error = attempt(partial(dialect.check_schema, schema, format_checker=None))
    if isinstance(error, SchemaError):
        place = path_of(tuple(error.absolute_path))
        raise _problem(f"at {where}{place[1:]}: {error.message}")
    if error is not None:
        raise _problem(f"it cannot be read: {describe(error)}")


def _check_parts(dialect: Any, schema: Mapping[str, Any]) -> None:
    """Visit every schema inside a schema and behind its references."""
    from jsonschema_specifications import REGISTRY
    from referencing.jsonschema import specification_with

    specification = specification_with(dialect.ID_OF(dialect.META_SCHEMA))
    root = specification.create_resource(schema)
    waiting = [(root, REGISTRY.resolver_with_root(root))]  # holds the metaschemas, and fetches nothing
    seen: set[int] = set()
    while waiting:
        part, resolver = waiting.pop()
        if not isinstance(part.contents, Mapping) or id(part.contents) in seen:
            continue
        seen.add(id(part.contents))
        for pattern in _patterns(part.contents):
            compiled(pattern)
        for reference in (part.contents[each] for each in _REFERENCES if each in part.contents):
            target = _target(resolver, reference)
            _check_schema(dialect, target.contents, f"the target of {reference!r}, ")
            waiting.append((specification.create_resource(target.contents), target.resolver))
        waiting += [(each, resolver.in_subresource(each)) for each in part.subresources()]


def _patterns(schema: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"]
    yield from schema.get("patternProperties", ())


def _target(resolver: Any, reference: Any) -> Any:
    found, error = attempt(partial(resolver.lookup, reference))
    if found is None:
        assert error is not None
        raise _problem(
            f"its reference {reference!r} leads nowhere: {describe(error)}. Only what lies in the schema "
            "itself can be referred to ('#/$defs/name'); nothing is fetched"
        )
    return found


@cache
def _guarded(dialect: Any) -> Any:
    """Return a class of jsonschema's whose patterns have a time limit, and whose uniqueness is fast."""
    from jsonschema.validators import extend

    ours = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": partial(_additional_properties, dialect.VALIDATORS["additionalProperties"]),
        "uniqueItems": _unique_items,
    }
    return extend(dialect, {name: check for name, check in ours.items() if name in dialect.VALIDATORS})


def _pattern(checks: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if checks.is_type(value, "string") and not matches(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(checks: Any, patterns: Mapping[str, Any], value: Any, _schema: Any) -> Iterator[Any]:
    if checks.is_type(value, "object"):
        for pattern, inner in patterns.items():
            for key in filter(partial(matches, pattern), value):
                yield from checks.descend(value[key], inner, path=key, schema_path=pattern)


def _additional_properties(stock: Any, checks: Any, inner: Any, value: Any, schema: Any) -> Iterator[Any]:
    if checks.is_type(value, "object"):
        patterns = schema.get("patternProperties", ())
        rest = {key: each for key, each in value.items() if not any(matches(one, key) for one in patterns)}
        yield from stock(checks, inner, rest, {"properties": schema.get("properties", {})})


def _unique_items(checks: Any, wanted: bool, value: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if wanted and checks.is_type(value, "array") and len(set(map(_key, value))) < len(value):
        yield ValidationError(f"{value!r} has non-unique elements")


def _key(value: Any) -> Any:
    """Return something hashable that is equal for equal JSON values: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return "object", frozenset((key, _key(each)) for key, each in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_key, value))
    return isinstance(value, bool), value
