"""Checks that an answer passes or fails, without a reference: JSON, a JSON Schema, a pattern, a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from timelapse.errors import ConfigError, ScorerError
from timelapse.fence import attempt, describe
from timelapse.hints import nearest
from timelapse.scoring.checks import Check, Made, json_check, pattern_check, schema_check, shown
from timelapse.scoring.findings import Finding, bounded
from timelapse.scoring.functions import function_check

__all__ = ["Finding", "Validation", "Validator", "make_validator", "make_validators", "spec_of"]

_KINDS: Mapping[str, tuple[Callable[[Mapping[str, Any], Path | None], Made], tuple[str, ...]]] = {
    "json": (json_check, ("fenced", "name")),
    "json_schema": (schema_check, ("schema", "fenced", "formats", "name")),
    "regex": (pattern_check, ("pattern", "full", "name")),
}
_SHORT = {"json_schema": "schema", "regex": "pattern"}


@dataclass(frozen=True, slots=True)
class Validation:
    """Whether an answer passed a check, and if not, why."""

    name: str
    """The validator's name."""
    kind: str
    """The validator's kind."""
    passed: bool | None
    """Whether nothing was found; None where the validator itself failed."""
    errors: tuple[Finding, ...]
    """What was found, or why the validator failed: at most 20 findings; of a path or message of more than 300
    characters the middle is left out."""


@dataclass(frozen=True, slots=True)
class Validator:
    """A check of answers, by name."""

    name: str
    """Its name: one of its own among a run's validators."""
    kind: str
    """`json`, `json_schema`, `regex` or `function`."""
    check: Check = field(compare=False, repr=False)
    """Returns what is wrong with an answer."""
    spec: str | Mapping[str, Any] = field(hash=False)
    """What `make_validator` makes it from."""

    def validate(self, text: str) -> Validation:
        """Return whether an answer passes.

        Raises:
            ScorerError: The check itself failed, which says nothing about the answer: a user's function
                raised, or returned what it may not.
        """
        errors, error = attempt(lambda: bounded(self.check(text)))
        if errors is None:
            assert error is not None
            raise ScorerError(f"the validator '{self.name}' failed: {describe(error)}") from error
        return Validation(self.name, self.kind, not errors, errors)


def all_passed(passed: Sequence[bool | None]) -> bool | None:
    """Return whether an answer passed every validator; None if one failed at its work and none refused."""
    return False if False in passed else None if None in passed else True


def make_validator(spec: str | Mapping[str, Any], *, folder: Path | None = None) -> Validator:
    """Return the validator that a spec describes.

    Args:
        spec: `json`; `{json: {fenced: true}}`, which checks the first block of code marked `json` or not at
            all, if there is one; `{json_schema: {schema: FILE or mapping, fenced: true, formats: true}}` or
            `{json_schema: FILE}`; `{regex: {pattern: PATTERN, full: true}}` (`full`: all of the answer
            must match) or `{regex: PATTERN}`; `my_pkg.checks:is_polite`, a function of the answer that
            returns True or None (passed), False (failed), or its complaints as a text or list of texts (an
            empty one: passed); `{my_pkg.checks:is_polite: {option: 3}}`, with keyword arguments for it.
            Each takes a `name`, too; the default is the kind, and of a function its own name.
        folder: Where the path of a schema file begins; the current folder by default.

    Raises:
        ConfigError: The spec is wrong, or names what cannot be read, compiled or imported.
    """
    kind, options = read_spec(spec)
    if ":" in kind:
        name = _name(kind, options, default=re.split("[.:]", kind)[-1])
        given = {option: value for option, value in options.items() if option != "name"}
        check, kept = function_check(kind, given, name)
        return Validator(name, "function", check, {kind: {"name": name, **kept}})
    make = _maker(kind, options)
    name = _name(kind, options, default=kind)
    check, kept = make(options, folder)
    return Validator(name, kind, check, {kind: {"name": name, **kept}})


def make_validators(
    specs: str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]], *, folder: Path | None = None
) -> dict[str, Validator]:
    """Return the validators of specs (or of one) by name, in their order; see `make_validator`.

    Raises:
        ConfigError: A spec is wrong, or two validators have the same name.
    """
    made: dict[str, Validator] = {}
    specs = [specs] if isinstance(specs, str | Mapping) else specs
    if not isinstance(specs, Iterable):
        raise ConfigError(f"validators={specs!r} is no list. Expected one such as ['json'].")
    for spec in specs:
        validator = make_validator(spec, folder=folder)
        if validator.name in made:
            kind = next(iter(read_spec(spec)))
            raise ConfigError(
                f"Two validators have the name '{validator.name}'. Give one of them another with `name:`, "
                f"such as {{{kind}: {{name: {validator.name}_2, …}}}}."
            )
        made[validator.name] = validator
    return made


def spec_of(validator: Validator) -> Any:
    """Return a spec, of values that JSON knows, from which another process makes the same validator.

    Schemas stand in it whole; a function by its import path.
    """
    return deepcopy(validator.spec)


def read_spec(spec: Any) -> tuple[str, dict[str, Any]]:
    """Return what a spec names, and its options; a short form as the option that it stands for.

    Raises:
        ConfigError: It is no spec.
    """
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping) or len(spec) != 1 or not isinstance(next(iter(spec)), str):
        raise ConfigError(
            f"{shown(spec)} is no validator. Expected a name such as json, or one name with its options: "
            "{json: {fenced: true}}. Several validators are a list; options stand further in than their name."
        )
    ((kind, given),) = spec.items()
    if given is None or isinstance(given, Mapping):
        return kind, dict(given or {})
    if kind not in _SHORT:
        raise ConfigError(
            f"The validator '{kind}' is given {shown(given)}. Expected its options: "
            f"{{{kind}: {{name: my_check}}}}."
        )
    return kind, {_SHORT[kind]: given}


def _maker(kind: str, options: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Path | None], Made]:
    """Return what makes a built-in check, after a look at the names of its options."""
    if kind not in _KINDS:
        raise ConfigError(
            f"The validator '{kind}' is not known; there are {', '.join(_KINDS)}, and functions of your own "
            f"as 'my_package.my_module:my_function'.{nearest(kind, _KINDS)}"
        )
    make, known = _KINDS[kind]
    for option in options:
        if option not in known:
            hint = nearest(option, known)
            if kind == "json_schema" and "schema" not in options and not hint:
                hint = " A schema itself stands further in: {json_schema: {schema: {type: object}}}."
            raise ConfigError(
                f"The validator '{kind}' has no option '{option}'; its options are {', '.join(known)}.{hint}"
            )
    return make


def _name(what: str, options: Mapping[str, Any], *, default: str) -> str:
    name = options.get("name", default)
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"The validator '{what}' has the name {name!r}. Expected a text such as my_check.")
    return name


def revived_validator(spec: Any) -> Validator:
    """Return a validator that another process used; one that cannot be had raises when it is called."""
    made, error = attempt(partial(make_validator, spec))
    if made is not None:
        return made
    kind, options = read_spec(spec)

    def unavailable(_text: str) -> Sequence[Finding]:
        raise ScorerError(f"it cannot be had here: {error}") from error

    return Validator(
        _name(kind, options, default=kind), "function" if ":" in kind else kind, unavailable, spec
    )
