"""A round's numbers, as MLflow metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from timelapse.analysis.learning import Right, right_samples
from timelapse.analysis.noise import generation_noise
from timelapse.scoring.health import flag_rates
from timelapse.scoring.scorers import edit_similarity

if TYPE_CHECKING:
    from timelapse.rounds import Prediction, Round

T = TypeVar("T")
Key = tuple[str, int]
"""A sample's id, and which of its generations."""


def round_metrics(
    round_: Round, previous: Round | None = None, right: Right | None = None
) -> dict[str, float]:
    """Return the means and rates of a round by bare name (`exact_match`, `error_rate`, …).

    - each score's mean over the rows that have it (NaN marks a scorer that failed);
    - `error_rate`: failed rows / all rows;
    - `truncated_rate`, `empty_rate`, `loop_rate`, `echo_rate`, `length_drift_rate`, `script_switch_rate`:
      rows with this sign of broken generation / answered rows, see `timelapse.scoring.health`;
    - `valid_rate`: answered rows that passed every validator / answered rows that were checked; with several
      validators also `valid_rate_<name>` of each;
    - `churn`: rows whose text changed / rows answered both now and in `previous`; `edit_distance`: the
      mean of 1 - `edit_similarity` of their texts;
    - `right`, `learned`, `forgotten`, `net`: how many samples are right; have become so since `previous`; are
      no longer so; and the difference of these two. Of several generations the mean decides;
    - `pass_at_<k>`, `agreement`, `spread` where samples have several generations, see `generation_noise`;
    - `seconds`: wall time of the pass; `tokens_per_second`: answer tokens / seconds.

    A number that has nothing to be computed from is left out rather than reported as zero.

    Args:
        round_: The judged round.
        previous: The set's round before it.
        right: The score that says which answers are right, and from which value on.
    """
    rows = round_.predictions
    answered = [row for row in rows if row.status == "ok"]
    metrics = score_means(answered)
    if rows:
        metrics["error_rate"] = len(round_.failed) / len(rows)
    metrics |= flag_rates([row.flags for row in answered])
    metrics |= _valid_rates(answered)
    if previous is not None:
        metrics |= _text_changes(answered, previous)
    if right is not None:
        metrics |= _learning(round_, previous, right)
        metrics |= _noise(answered, right)
    if round_.seconds > 0:
        metrics["seconds"] = round_.seconds
        metrics["tokens_per_second"] = sum(row.prediction_tokens or 0 for row in rows) / round_.seconds
    return metrics


def score_means(rows: list[Prediction]) -> dict[str, float]:
    """Return each score's mean over the rows that have it as a finite number."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.scores.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: sum(column) / len(column) for name, column in values.items()}


def _valid_rates(answered: list[Prediction]) -> dict[str, float]:
    checked = [row.validations for row in answered if row.validations]
    if not checked:
        return {}
    rates = {"valid_rate": _share(checked, lambda found: all(each.passed for each in found))}
    names = dict.fromkeys(each.name for found in checked for each in found)
    for name in names if len(names) > 1 else ():
        mine = [each.passed for found in checked for each in found if each.name == name]
        rates[f"valid_rate_{name}"] = sum(mine) / len(mine)
    return rates


def _text_changes(answered: list[Prediction], previous: Round) -> dict[str, float]:
    before = {_key(row): row.prediction or "" for row in previous.predictions if row.status == "ok"}
    both = [(row.prediction or "", before[_key(row)]) for row in answered if _key(row) in before]
    if not both:
        return {}
    distances = [
        0.0 if now == then else 1.0 - edit_similarity(now[:20_000], then[:20_000]) for now, then in both
    ]
    return {
        "churn": _share(both, lambda pair: pair[0] != pair[1]),
        "edit_distance": sum(distances) / len(both),
    }


def _learning(round_: Round, previous: Round | None, right: Right) -> dict[str, float]:
    now = right_samples(round_, right)
    if not now:
        return {}
    counts = {"right": float(sum(now.values()))}
    before = right_samples(previous, right) if previous is not None else {}
    both = [(before[key], now[key]) for key in now if key in before]
    if both:
        learned, forgotten = both.count((False, True)), both.count((True, False))
        numbers = {"learned": learned, "forgotten": forgotten, "net": learned - forgotten}
        counts |= {name: float(number) for name, number in numbers.items()}
    return counts


def _noise(answered: list[Prediction], right: Right) -> dict[str, float]:
    values = _by_sample((row, row.scores.get(right.score, math.nan)) for row in answered)
    texts = _by_sample((row, row.prediction or "") for row in answered)
    return generation_noise(values, texts, right=right.least)


def _by_sample(rows: Iterable[tuple[Prediction, T]]) -> Mapping[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row, value in rows:
        if row.status == "ok":
            found.setdefault(row.sample_id, []).append(value)
    return found


def _share(rows: list[T], holds: Callable[[T], bool]) -> float:
    return sum(map(holds, rows)) / len(rows)


def _key(row: Prediction) -> Key:
    return row.sample_id, row.generation
