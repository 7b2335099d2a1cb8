"""How far a run spreads out once it is arranged: a small file can ask for terabytes of empty cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timelapse.errors import RunError
from timelapse.names import DEFAULT_SET

if TYPE_CHECKING:
    import pyarrow as pa

    from timelapse.reading.loader import RunRounds

MOST_CELLS = 4_000_000
"""Answers of a sample set by round, those that there are not among them."""
MOST_SCORES = 32_000_000
"""Answers, stored or not, times the names of scores."""


def check_extent(loaded: RunRounds) -> None:
    """Make sure that a run's sets, arranged lane by round and score by score, fit into a server's memory.

    Raises:
        RunError: They do not. Says how large they are.
    """
    rounds = loaded.rounds
    steps, lanes = _distinct(rounds, "step"), _distinct(rounds, "sample_id", "generation")
    samples = _distinct(loaded.samples, "sample_id")
    most = 0
    for name, count in steps.items():
        cells = count * max(lanes[name], samples.get(name, 0))
        most = max(most, cells)
        if cells > MOST_CELLS:
            raise RunError(
                f"Sample set '{name or DEFAULT_SET}' has {count:,} rounds of {cells // count:,} answers: "
                f"{cells:,} cells; a server arranges {MOST_CELLS:,}. Read the run with "
                "`timelapse.load_predictions`."
            )
    scores = _score_names(rounds)
    if scores * max(most, len(rounds)) > MOST_SCORES:
        raise RunError(
            f"The run has {scores:,} scores of {max(most, len(rounds)):,} answers; a server arranges "
            f"{MOST_SCORES:,} numbers. Read the run with `timelapse.load_predictions`."
        )


def _distinct(table: pa.Table, *names: str) -> dict[str | None, int]:
    """Return how many values (or pairs of values) each sample set has."""
    once = table.select(["set", *names]).group_by(["set", *names]).aggregate([])
    found = once.group_by("set").aggregate([([], "count_all")])
    return dict(zip(found.column("set").to_pylist(), found.column("count_all").to_pylist(), strict=True))


def _score_names(rounds: pa.Table) -> int:
    import pyarrow as pa

    keys = [chunk.keys for chunk in rounds.column("scores").chunks]
    return len(pa.chunked_array(keys, pa.string()).unique())
