"""Judging a round: its answers' scores, what validators find, and signs of broken generation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from timelapse.analysis.learning import Right
from timelapse.errors import ScorerError
from timelapse.fence import attempt, describe
from timelapse.scoring import health
from timelapse.scoring.findings import Finding
from timelapse.scoring.patience import PATIENCE_SECONDS, Caller
from timelapse.scoring.scorer import Scorer, make_scorers, revived
from timelapse.scoring.validators import Validation, Validator, revived_validator

if TYPE_CHECKING:
    from timelapse.rounds import Prediction, Round

T = TypeVar("T")

SCORED_BYTES = 20_000
"""A longer answer or reference is scored by its beginning only; its row has the flag `scored_prefix`."""
SCORED_PREFIX = "scored_prefix"

Pace = Callable[[float], None]

DEFAULT_SCORERS = ("exact_match", "edit_similarity")
"""The scores of a run for which none are named."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is known of a sample when its answers are judged."""

    prompt: str | None = None
    """The text that was asked."""
    reference: str | None = None
    """The expected answer."""


@dataclass(frozen=True, slots=True)
class Judges:
    """What judges a run's answers."""

    scorers: Mapping[str, Scorer] = field(default_factory=lambda: make_scorers(DEFAULT_SCORERS))
    """Scorers by name."""
    validators: Mapping[str, Validator] = field(default_factory=dict)
    """Validators by name."""
    hanging: set[str] = field(default_factory=set, compare=False)
    """Those that did not come back from an answer."""

    def deciding(self) -> Right | None:
        """Return the score that says which answers are right, and from which value on; None if none does.

        It is `exact_match`, else the first that knows what is right.
        """
        known = {name: each.right for name, each in self.scorers.items() if each.right is not None}
        if not known:
            return None
        name = "exact_match" if "exact_match" in known else next(iter(known))
        return Right(name, known[name])


def judge(
    round_: Round,
    questions: Mapping[str, Question],
    judges: Judges,
    base: Round | None = None,
    pace: Pace | None = None,
) -> tuple[Round, list[str]]:
    """Return the round with scores, validations and flags, and a sentence for each judge that failed.

    A row without an answer is not judged; one without a reference has no score that needs one. A scorer that
    raises leaves NaN in that cell, a validator that does a validation that neither passed nor did not; a
    scorer that has spent its time leaves the rest of the rows without its score.

    Args:
        round_: The answers.
        questions: What was asked, by sample id.
        judges: Scorers and validators.
        base: The set's first round, with which lengths and scripts are compared.
        pace: Called after each row with the seconds that it took, to let other threads go on.
    """
    before = {(row.sample_id, row.generation): row.prediction for row in (base.predictions if base else ())}
    rows = []
    with Caller() as caller:
        bench = _Bench(judges, caller)
        for row in round_.predictions:
            begin = time.perf_counter()
            question = questions.get(row.sample_id, Question())
            rows.append(bench.judged(row, question, before.get((row.sample_id, row.generation))))
            if pace is not None:
                pace(time.perf_counter() - begin)
    return replace(round_, predictions=tuple(rows)), list(bench.problems.values())


@dataclass(slots=True)
class _Bench:
    """The judges at work on one round."""

    judges: Judges
    caller: Caller
    problems: dict[str, str] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    def judged(self, row: Prediction, question: Question, base: str | None) -> Prediction:
        if row.status != "ok" or row.prediction is None:
            return row
        text, is_cut = bounded(row.prediction)
        reference, _cut = (None, False) if question.reference is None else bounded(question.reference)
        flags = health.row_flags(
            text,
            row.finish_reason,
            prompt=question.prompt,
            reference=reference,
            base=base and bounded(base)[0],
        )
        return replace(
            row,
            # What came with the answer is kept.
            scores={**self._scores(text, reference, question.prompt), **row.scores},
            validations=self._validations(row.prediction),
            flags=(*flags, SCORED_PREFIX) if is_cut else flags,
        )

    def _scores(self, text: str, reference: str | None, prompt: str | None) -> dict[str, float]:
        scores: dict[str, float] = {}
        for name, scorer in self.judges.scorers.items():
            if (reference is None and scorer.needs_reference) or self._is_spent(name, scorer):
                continue
            begin = time.perf_counter() if scorer.budget is not None else 0.0
            call = partial(scorer.score, text, reference, prompt)
            patience = max(PATIENCE_SECONDS, scorer.budget or 0.0)
            found, error = self._asked(name, call, patience) if scorer.foreign else _tried(call)
            if scorer.budget is not None:
                self.spent[name] = self.spent.get(name, 0.0) + time.perf_counter() - begin
            if found is None:
                assert error is not None
                self.problems.setdefault(name, f"the scorer '{name}' failed: {describe(error)}")
                found = {name: math.nan}
            scores |= found
        return scores

    def _asked(
        self, name: str, call: Callable[[], T], seconds: float
    ) -> tuple[T | None, BaseException | None]:
        """Return what `_tried` does of a judge that may hang: then it has failed, now and for good."""
        if name in self.judges.hanging:
            return None, TimeoutError("it hung before, and is not asked again")
        try:
            return self.caller.call(partial(_tried, call), seconds)
        except TimeoutError as error:
            self.judges.hanging.add(name)
            return None, error

    def _is_spent(self, name: str, scorer: Scorer) -> bool:
        if scorer.budget is None or self.spent.get(name, 0.0) < scorer.budget:
            return False
        self.problems.setdefault(
            name,
            f"the scorer '{name}' failed: its {scorer.budget:g} s are spent; the other rows lack it",
        )
        return True

    def _validations(self, text: str) -> tuple[Validation, ...]:
        done = []
        for name, validator in self.judges.validators.items():
            call = partial(validator.validate, text)
            foreign = validator.kind == "function"
            found, error = self._asked(name, call, PATIENCE_SECONDS) if foreign else _tried(call)
            if found is None:
                assert error is not None
                said = isinstance(error, ScorerError)
                problem = str(error) if said else f"the validator '{name}' failed: {describe(error)}"
                self.problems.setdefault(name, problem)
                found = Validation(name, validator.kind, None, (Finding("$", problem),))
            done.append(found)
        return tuple(done)


def _tried(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return what `attempt` does; a judge that asks the program to end has failed like any other."""
    try:
        return attempt(call)
    except (SystemExit, GeneratorExit) as error:
        return None, error


def bounded(text: str) -> tuple[str, bool]:
    """Return a text that is judged in bounded time, at most `SCORED_BYTES` long, and whether it was cut."""
    if len(text) * 4 <= SCORED_BYTES:
        return text, False
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= SCORED_BYTES:
        return text, False
    return data[:SCORED_BYTES].decode("utf-8", "ignore"), True


def warm_up(judges: Judges) -> None:
    """Import what the built-in scorers need, before the training: beside it an import would hold it up.

    Python would also forget that a program was interrupted if a module were imported after that.
    """
    health.row_flags("1", None, prompt="1", reference="1", base="1")
    for scorer in judges.scorers.values():
        if not scorer.foreign:
            _tried(partial(scorer.score, "1", "1", "1"))


def revived_judges(scorers: Mapping[str, Any], validators: Sequence[Any]) -> Judges:
    """Return the judges that another process used; one that cannot be had here marks its cells."""
    made = (revived_validator(spec) for spec in validators)
    return Judges(
        {name: revived(name, spec) for name, spec in scorers.items()}, {each.name: each for each in made}
    )
