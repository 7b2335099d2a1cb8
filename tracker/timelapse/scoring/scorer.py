"""What a scorer is: a named function of an answer, and how one is made from what people write."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from timelapse.errors import ConfigError, ScorerError
from timelapse.fence import attempt, describe
from timelapse.hints import nearest
from timelapse.rounds import storable
from timelapse.scoring.imports import imported

ScoreFunction = Callable[..., Any]
"""A function that takes some of `prediction`, `reference` and `prompt`, by these names or as (prediction,
reference), and returns a number, a truth value, a mapping of such by name, or None for no score."""

_OTHER_NUMBERS = re.compile(
    r".*_rate(_.*)?|churn|edit_distance|right|learned|forgotten|net|pass_at_\d+|agreement|spread|seconds|"
    r"tokens_per_second|share_of_training_time|reference_nll"
)
_GIVEN = ("prediction", "reference", "prompt")


@dataclass(frozen=True, slots=True)
class Scorer:
    """A named number on an answer."""

    name: str
    """Its name among a run's scores."""
    function: ScoreFunction = field(compare=False, repr=False)
    """Called with the names in `takes`."""
    spec: Any = field(hash=False)
    """What `make_scorer` makes it from: values that JSON knows."""
    takes: tuple[str, ...] = ("prediction", "reference")
    """Which of `prediction`, `reference` and `prompt` the function takes."""
    by_name: bool = False
    """Whether they are given by name."""
    low: float | None = None
    """The lowest value there is, if that is known."""
    high: float | None = None
    """The highest value there is, if that is known."""
    higher_is_better: bool = True
    """The direction."""
    right: float | None = None
    """The value from which on an answer counts as right; None where the score does not say."""
    budget: float | None = None
    """The most seconds that it may take in a round, after which the rest of the rows stay without it."""
    foreign: bool = False
    """Whether somebody else wrote it: it may take any time, or never come back."""
    note: str | None = None
    """What a user should know before the training: what it costs."""

    @property
    def needs_reference(self) -> bool:
        """Whether samples without a reference cannot be scored."""
        return "reference" in self.takes

    def score(self, prediction: str, reference: str | None, prompt: str | None) -> dict[str, float]:
        """Return the scores of an answer by name; none where the function returns None.

        A function that returns a mapping gives several, `<name>_<key>`.

        Raises:
            ScorerError: It returned something that is no number.
            Exception: Whatever the function raises.
        """
        given = {"prediction": prediction, "reference": reference, "prompt": prompt}
        values = [given[name] for name in self.takes]
        result = (
            self.function(**dict(zip(self.takes, values, strict=True)))
            if self.by_name
            else self.function(*values)
        )
        if type(result) is float:
            return {self.name: result}
        if result is None:
            return {}
        if isinstance(result, Mapping):
            result = {storable(str(key)): value for key, value in result.items()}
            return {
                f"{self.name}_{key}": _number(value) for key, value in result.items() if value is not None
            }
        return {self.name: _number(result)}


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):
        raise ScorerError(f"it returned the text {str(value)[:50]!r}; expected a number")
    number, error = attempt(lambda: float(value))
    if number is None:
        raise ScorerError(f"it returned {type(value).__name__}; expected a number") from error
    return number


def make_scorer(spec: Any, name: str | None = None) -> Scorer:
    """Return the scorer that a spec describes.

    Args:
        spec: The name of a built-in scorer; one with options, `{numeric_match: {relative: 0.01}}`; the import
            path of your own function, class, or scorer of MLflow's, `my_package.my_module:my_scorer`, also
            with options; or a Python callable. Each takes the options `name` and `seconds` (the most that it
            may take in a round), too.
        name: What its scores are called; by default its own name.

    Raises:
        ConfigError: It is not known, cannot be imported, or does not take these options.
    """
    from timelapse.scoring.builtin import SCORERS

    if isinstance(spec, Scorer):
        return replace(spec, name=name or spec.name)
    if isinstance(spec, partial) and not spec.args and _are_plain(spec.keywords):
        return _named(_own(spec.func, _path(spec.func), spec.keywords, name))
    if callable(spec):
        return _named(_own(spec, _path(spec), {}, name))
    what, options = _read(spec)
    name = options.pop("name", name)
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise ConfigError(f"The scorer '{what}' has the name {name!r}. Expected a text such as my_score.")
    budget = options.pop("seconds", None)
    if ":" in what:
        made = _own(imported(what, "scorer"), what, options, name)
    elif what in SCORERS:
        made = _with_options(SCORERS[what], options, name)
    else:
        raise ConfigError(
            f"The scorer '{what}' is not known.{nearest(what, SCORERS)} The scorers are "
            f"{', '.join(SCORERS)}; your own is named by its import path, 'my_package.my_module:my_scorer'."
        )
    return _named(made if budget is None else replace(made, budget=_seconds(what, budget)))


def _named(scorer: Scorer) -> Scorer:
    """Return a scorer, unless its name is that of another number of a round."""
    if _OTHER_NUMBERS.fullmatch(scorer.name):
        raise ConfigError(
            f"'{scorer.name}' is the name of another number of a round. Give the scorer another one "
            "with `name:`, or as a key: scorers={'my_score': …}."
        )
    return scorer


def make_scorers(specs: Iterable[Any] | Mapping[str, Any]) -> dict[str, Scorer]:
    """Return scorers by name, in their order; see `make_scorer`. A mapping gives names to specs.

    Raises:
        ConfigError: A spec is wrong, or two scorers have the same name.
    """
    specs = [specs] if isinstance(specs, str) else specs
    if not isinstance(specs, Iterable):
        raise ConfigError(f"scorers={specs!r} is no list. Expected one such as ['exact_match', 'rouge_l'].")
    named = specs.items() if isinstance(specs, Mapping) else ((None, spec) for spec in specs)
    made: dict[str, Scorer] = {}
    for name, spec in named:
        scorer = make_scorer(spec, name)
        if scorer.name in made:
            raise ConfigError(f"Two scorers have the name '{scorer.name}'. Give one another with `name:`.")
        made[scorer.name] = scorer
    return made


def scorer_of(score: str, scorers: Iterable[str]) -> str | None:
    """Return which of these scorers gives a score; one that returns a mapping gives `<name>_<key>`."""
    owners = (name for name in scorers if score == name or score.startswith(f"{name}_"))
    return max(owners, key=len, default=None)


def revived(name: str, spec: Any) -> Scorer:
    """Return a scorer that another process used; one that cannot be had raises when it is called."""
    made, error = attempt(partial(make_scorer, spec, name))
    if made is not None:
        return made

    def unavailable(_prediction: str) -> float:
        raise ScorerError(f"it cannot be had here: {error}") from error

    return Scorer(name, unavailable, spec, takes=("prediction",))


def _read(spec: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str) and spec:
        return spec, {}
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((what, options),) = spec.items()
        if isinstance(what, str) and (options is None or isinstance(options, Mapping)):
            return what, dict(options or {})
    raise ConfigError(
        f"{str(spec)[:80]!r} is no scorer. Expected a name such as exact_match, or one with its options: "
        "{numeric_match: {relative: 0.01}}."
    )


def _seconds(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"The scorer '{what}' has seconds: {value!r}. Expected a number above 0.")
    return float(value)


def _with_options(scorer: Scorer, options: Mapping[str, Any], name: str | None) -> Scorer:
    """Return a built-in scorer with other options than by default."""
    if options:
        known = [option for option in inspect.signature(scorer.function).parameters if option not in _GIVEN]
        for option in options:
            if option not in known:
                there = f"its options are {', '.join(known)}" if known else "it has none but name and seconds"
                raise ConfigError(
                    f"The scorer '{scorer.name}' has no option '{option}'; {there}.{nearest(option, known)}"
                )
        function = partial(scorer.function, **options)
        _try(scorer.name, function)
        scorer = replace(scorer, function=function, spec={scorer.name: dict(options)})
    return replace(scorer, name=name or scorer.name)


def _try(name: str, function: ScoreFunction) -> None:
    """Call a scorer once, so that a wrong option is an error before the training and not in every cell."""
    _score, error = attempt(lambda: function("1", "1"))
    if error is not None:
        raise ConfigError(f"The scorer '{name}' does not take these options: {error}") from error


def _own(found: Any, path: str, options: Mapping[str, Any], name: str | None) -> Scorer:
    """Return a scorer from a user's function, class or object, or from one of MLflow's."""
    from timelapse.scoring import mlflow_scorers

    spec = {path: dict(options)} if options else path
    if not _are_plain(options):
        raise ConfigError(
            f"The options of the scorer '{path}' are not plain values: {str(options)[:200]}. Expected "
            "texts, numbers, true, false, null, lists and mappings; a date is written in quotes."
        )
    if inspect.isclass(found):
        made, error = attempt(lambda: found(**options))
        if error is not None:
            raise ConfigError(f"The scorer '{path}' cannot be made: {describe(error)}") from error
        found, options = made, {}
    if mlflow_scorers.is_one(found):
        return mlflow_scorers.adapted(found, name, spec, options)
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise ConfigError(f"The scorer '{path}' is no function, but {type(found).__name__}.")
    takes, by_name = _takes(path, found, options)
    function = partial(found, **options) if options else found
    return Scorer(name or _name(found, path), function, spec, takes, by_name, foreign=True)


def _are_plain(options: Mapping[str, Any]) -> bool:
    """Return whether JSON knows the values, so that another process can have them."""
    return attempt(lambda: json.dumps(options, allow_nan=False))[1] is None


def _takes(path: str, function: ScoreFunction, options: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Return which of prediction, reference and prompt a function takes, and whether by name."""
    signature, _error = attempt(lambda: inspect.signature(function))
    if signature is None:  # a function written in C
        return ("prediction", "reference"), False
    for option in options:
        if option not in signature.parameters:
            known = [each for each in signature.parameters if each not in _GIVEN]
            raise ConfigError(f"The scorer '{path}' has no option '{option}'.{nearest(option, known)}")
    free = [each for key, each in signature.parameters.items() if key not in options]
    single = [each for each in free if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    needed = [each.name for each in single if each.default is each.empty]
    if set(needed) <= set(_GIVEN) and all(each.kind is not each.POSITIONAL_ONLY for each in single):
        sure = tuple(name for name in _GIVEN if name in needed)
        optional = tuple(each.name for each in single if each.name in _GIVEN and each.name not in needed)
        # A reference that may be missing is asked for only where it must be there.
        takes = tuple(name for name in _GIVEN if name in sure or (name in optional and name != "reference"))
        if takes:
            return takes, True
    if len(needed) in (1, 2):
        return ("prediction", "reference")[: len(needed)], False
    raise ConfigError(
        f"The scorer '{path}' takes ({', '.join(needed)}). Expected prediction, reference or prompt by these "
        "names, or two arguments: the answer and the reference."
    )


def _path(function: Any) -> str:
    """Return where another process could import a function from, or words that it cannot import."""
    kind = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(kind, "__module__", None) or "builtins"  # a method of a built-in class has none
    path = f"{module}:{kind.__qualname__}"
    found, _error = attempt(partial(imported, path, "scorer"))
    return path if found is function else f"given in code: {path}"


def _name(function: Any, path: str) -> str:
    return str(getattr(function, "__name__", None) or path.rpartition(":")[2].rpartition(".")[2])
