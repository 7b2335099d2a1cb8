"""A comparison as a pandas frame, and in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from timelapse.analysis.slices import FEW

if TYPE_CHECKING:
    import pandas as pd

    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.comparison import ComparedRound, Comparison, ScoreLine
    from timelapse.analysis.slices import Slice, WorstSlice
    from timelapse.analysis.statistics import PairedResult

COLUMNS: Mapping[str, str] = {
    "run": "str",
    "run_id": "str",
    "step": "int64",
    "against": "str",
    "against_run_id": "str",
    "against_step": "int64",
    "set": "str",
    "sample_id": "str",
    "generation": "int64",
    "index": "Int64",
    "prompt": "str",
    "reference": "str",
    "prediction_against": "str",
    "prediction": "str",
    "status_against": "str",
    "status": "str",
    "error_against": "str",
    "error": "str",
    "score_against": "float64",
    "score": "float64",
    "difference": "float64",
    "outcome": "str",
}
"""The columns of a comparison's frame, with their types."""


def frame(comparison: Comparison) -> pd.DataFrame:
    """Return the pairs of a comparison as a frame with the columns of `COLUMNS`."""
    import pandas as pd

    rows = list(flat_rows(comparison, comparison.pairs))
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
    )


def flat_rows(comparison: Comparison, pairs: tuple[Pair, ...]) -> Iterator[dict[str, Any]]:
    """Yield pairs as flat rows with the columns of `COLUMNS`."""
    rounds = {each.label: each for each in comparison.rounds}
    base = rounds[comparison.against]
    for pair in pairs:
        run = rounds[pair.run]
        yield {
            "run": run.label,
            "run_id": run.run_id,
            "step": run.step,
            "against": base.label,
            "against_run_id": base.run_id,
            "against_step": base.step,
            **_pair_columns(pair, comparison.score or ""),
        }


def _pair_columns(pair: Pair, score: str) -> dict[str, Any]:
    return {
        "set": pair.set_name,
        "sample_id": pair.sample_id,
        "generation": pair.generation,
        "index": pair.index,
        "prompt": pair.prompt,
        "reference": pair.reference,
        "prediction_against": pair.before.prediction,
        "prediction": pair.after.prediction,
        "status_against": pair.before.status,
        "status": pair.after.status,
        "error_against": pair.before.error,
        "error": pair.after.error,
        "score_against": pair.before.score(score),
        "score": pair.after.score(score),
        "difference": pair.difference,
        "outcome": pair.outcome,
    }


def text(comparison: Comparison) -> str:
    """Return a comparison in a few lines: who won, and whether it was a fair race."""
    name = comparison.score or "texts only"
    lines = [f"{name}, sample set '{comparison.set_name}', against {comparison.against}"]
    deciding = {line.run: line for line in comparison.scoreboard if line.score == comparison.score}
    lines += [f"  {_round(each, deciding.get(each.label))}" for each in comparison.rounds]
    if comparison.score is None:
        lines.append(f"  answers that differ: {len(comparison.disagreements)} of {shared(comparison)}")
    for each in comparison.likeness:
        lines += [f"  {each.run}: {sentence}" for sentence in each.sentences()]
    lines += [f"  {each.slice.run}: {_slice(each)}" for each in comparison.worst_slices]
    return "\n".join([*lines, *(f"  {note}" for note in comparison.notes)])


def size(each: Slice) -> str:
    """Return how many samples a slice's means are over, and how many failed besides: `12 (3 failed)`."""
    return f"{each.count} ({each.failed} failed)" if each.failed else str(each.count)


def few(found: Iterable[Slice]) -> str:
    """Return what is to be said of slices with few samples; nothing if there are none."""
    is_small = any(each.count < FEW for each in found)
    return f"A slice of fewer than {FEW} samples is a hint, no verdict." if is_small else ""


def in_words(result: PairedResult) -> str:
    """Return a result as `5 wins, 2 losses, 25 ties; difference +0.09 [-0.03, +0.22]; p = 0.45`."""
    counts = [(result.wins, "win", "wins"), (result.losses, "loss", "losses"), (result.ties, "tie", "ties")]
    words = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)
    failed = f" ({result.failed} failed)" if result.failed else ""
    difference = f"; difference {signed(result.difference)} {interval(result)}".rstrip()
    return f"{words}{failed}{difference}; p = {p_value(result)}"


def signed(value: float | None) -> str:
    """Return a difference with its sign; a dash where there is none."""
    return "–" if value is None else f"{value:+.2f}"


def interval(result: PairedResult) -> str:
    """Return the interval of a mean difference; nothing where there is none."""
    return f"[{result.interval.low:+.2f}, {result.interval.high:+.2f}]" if result.interval else ""


def p_value(result: PairedResult) -> str:
    """Return a p-value with two digits; a tiny one as `<0.001`."""
    if result.p_value < 0.001:
        return "<0.001"
    return f"{result.p_value:.3f}" if result.p_value < 0.01 else f"{result.p_value:.2f}"


def shared(comparison: Comparison) -> int:
    """Return how many pairs of answers there are, of samples that both sides hold."""
    return sum(pair.shared for pair in comparison.pairs)


def _slice(each: WorstSlice) -> str:
    found = each.slice
    means = ["–" if value is None else f"{value:.2f}" for value in (found.before, found.after)]
    words = f"{found.name} {each.why}: {' → '.join(means)} (n {size(found)}"
    return words + (", too few for a verdict)" if found.count < FEW else ")")


def _round(each: ComparedRound, line: ScoreLine | None) -> str:
    words = f"{each.label}: step {each.step}"
    if line is not None:
        mean = "–" if line.mean is None else f"{line.mean:.2f}"
        words += f", mean {mean} (n {line.n}{f', unscored {line.unscored}' if line.unscored else ''})"
    if each.failed:
        words += f", {each.failed} failed"
    return words if line is None or line.result is None else f"{words}; {in_words(line.result)}"
