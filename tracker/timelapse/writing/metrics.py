"""A round's numbers, as MLflow metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from timelapse import names
from timelapse.analysis.learning import Right, answer_texts, right_samples, score_means, score_values
from timelapse.analysis.noise import generation_noise
from timelapse.scoring.health import flag_rates
from timelapse.scoring.scorers import edit_similarity
from timelapse.scoring.validators import all_passed

if TYPE_CHECKING:
    from mlflow.entities import Metric

    from timelapse.rounds import Prediction, Round

T = TypeVar("T")

_COMPARED = 20_000  # characters of a text whose distance to another is measured


def round_metrics(
    round_: Round, previous: Round | None = None, right: Right | None = None
) -> dict[str, float]:
    """Return the means and rates of a round by bare name (`exact_match`, `error_rate`, …).

    - each score's mean over the rows that have it (NaN marks a scorer that failed);
    - `error_rate`: failed rows / all rows;
    - `truncated_rate`, `empty_rate`, `loop_rate`, `echo_rate`, `length_drift_rate`, `script_switch_rate`:
      rows with this sign of broken generation / answered rows, see `timelapse.scoring.health`;
    - `valid_rate`: answered rows that passed every validator / answered rows that were checked (by validators
      that did not fail themselves); with several validators also `valid_rate_<name>` of each;
    - `churn`: rows whose text changed / rows answered both now and in `previous`; `edit_distance`: the
      mean of 1 - `edit_similarity` of their texts;
    - `right`, `learned`, `forgotten`, `net`: how many samples are right; have become so since `previous`; are
      no longer so; and the difference of these two. Of several generations the mean decides;
    - `pass_at_<k>`, `agreement`, `spread` where samples have several generations, see `generation_noise`;
    - `reference_nll`: mean loss on the references, in nats per token, over the rows that have it;
    - `seconds`: wall time of the pass; `tokens_per_second`: answer tokens / seconds.

    A number that has nothing to be computed from is left out rather than reported as zero.

    Args:
        round_: The judged round.
        previous: The set's round before it.
        right: The score that says which answers are right, and from which value on.
    """
    rows, answered = round_.predictions, round_.answered
    metrics = score_means(round_)
    if rows:
        metrics["error_rate"] = len(round_.failed) / len(rows)
    metrics |= flag_rates([row.flags for row in answered])
    metrics |= _valid_rates(answered)
    if previous is not None:
        metrics |= _text_changes(round_, previous)
    if right is not None:
        metrics |= _learning(round_, previous, right)
        metrics |= _noise(round_, right)
    losses = [row.reference_nll for row in rows if row.reference_nll is not None]
    if known := [loss for loss in losses if math.isfinite(loss)]:
        metrics["reference_nll"] = sum(known) / len(known)
    if round_.seconds > 0:
        metrics["seconds"] = round_.seconds
        metrics["tokens_per_second"] = sum(row.prediction_tokens or 0 for row in rows) / round_.seconds
    return metrics


def mlflow_metrics(numbers: Mapping[str, float], set_name: str, step: int, time: int) -> list[Metric]:
    """Return a round's numbers as MLflow takes them; `time` is in milliseconds since 1970.

    They may be sent twice: MLflow keeps one of points with the same name, step, time and value.
    """
    from mlflow.entities import Metric

    return [Metric(names.metric(name, set_name), value, time, step) for name, value in numbers.items()]


def _valid_rates(answered: Sequence[Prediction]) -> dict[str, float]:
    checked = [row.validations for row in answered if row.validations]
    passed = {"valid_rate": [all_passed([each.passed for each in found]) for found in checked]}
    names = dict.fromkeys(each.name for found in checked for each in found)
    for name in names if len(names) > 1 else ():
        passed[f"valid_rate_{name}"] = [
            each.passed for found in checked for each in found if each.name == name
        ]
    known = {name: [each for each in found if each is not None] for name, found in passed.items()}
    return {name: sum(found) / len(found) for name, found in known.items() if found}


def _text_changes(round_: Round, previous: Round) -> dict[str, float]:
    now, before = answer_texts(round_), answer_texts(previous)
    both = [(text, before[key]) for key, text in now.items() if key in before]
    if not both:
        return {}
    distances = [
        0.0 if text == then else 1.0 - edit_similarity(text[:_COMPARED], then[:_COMPARED])
        for text, then in both
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


def _noise(round_: Round, right: Right) -> dict[str, float]:
    texts: dict[str, list[str]] = {}
    for (sample_id, _generation), text in answer_texts(round_).items():
        texts.setdefault(sample_id, []).append(text)
    return generation_noise(score_values(round_, right.score), texts, right=right.least)


def _share(rows: Sequence[T], holds: Callable[[T], bool]) -> float:
    return sum(map(holds, rows)) / len(rows)
