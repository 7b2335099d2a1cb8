"""Views of a frame of predictions: how every answer evolved, and one sample's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timelapse.errors import RunError
from timelapse.hints import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

SAMPLE = ["run_id", "set", "sample_id", "generation", "prompt"]
"""What tells the rows of an evolution apart; the prompt is for the reader."""

LOAD_HINT = "Load it with load_predictions, without columns= or with this column among them."


def evolution(frame: pd.DataFrame, score: str | None = None) -> pd.DataFrame:
    """Return how every answer evolved: one row a sample, one column a step.

    Args:
        frame: What `load_predictions` returned, of one or several runs.
        score: Name of a column of numbers; by default the cells are the answers' texts.

    Returns:
        A frame whose index has the levels run_id, set, sample_id, generation and prompt, in the order of
        `frame`, and whose columns are the steps in ascending order. A cell without a row is missing. Of
        several attempts at a step the newest counts.

    Raises:
        RunError: The frame lacks a column that is needed; names the nearest that it has.

    Example:
        >>> import timelapse
        >>> frame = timelapse.load_predictions("last")  # doctest: +SKIP
        >>> timelapse.evolution(frame, "exact_match").mean()  # doctest: +SKIP
    """
    value = score or "prediction"
    check_columns(frame, [*SAMPLE, "step", value])
    order = [*SAMPLE, "step"]
    if "attempt" in frame.columns:
        frame = frame.sort_values("attempt", kind="stable")
    newest = frame.drop_duplicates(order, keep="last").sort_index()
    cells: pd.DataFrame = newest.set_index(order)[[value]].unstack("step", sort=False)  # type: ignore[assignment]
    return cells.droplevel(0, axis=1).sort_index(axis=1)


def sample(frame: pd.DataFrame, id: str) -> pd.DataFrame:  # noqa: A002 - it is a sample's id
    """Return one sample's rows over runs and steps, in the order of the frame.

    Args:
        frame: What `load_predictions` returned.
        id: The sample's id, or a beginning of it that no other sample shares.

    Raises:
        RunError: The frame has no such sample, or several; lists those that there are.
    """
    check_columns(frame, ["sample_id"])
    if not isinstance(id, str):
        raise RunError(f"id={id!r} is no text: give a sample's id, as in frame['sample_id'].")
    known = frame["sample_id"].unique().tolist()
    found = [each for each in known if each == id] or [each for each in known if id and each.startswith(id)]
    if len(found) == 1:
        rows: pd.DataFrame = frame[frame["sample_id"] == found[0]]
        return rows
    shown = ", ".join((found or known)[:10]) + (", …" if len(found or known) > 10 else "")
    if found:
        raise RunError(f"Several samples have ids that begin with '{id}': {shown}. Give more of it.")
    raise RunError(f"The frame has no sample '{id}'. There are: {shown or 'none'}.")


def check_columns(frame: pd.DataFrame, needed: Iterable[str], hint: str = LOAD_HINT) -> None:
    """Raise a `RunError` that ends in the hint if a frame lacks a column; it names the nearest."""
    known = list(map(str, frame.columns))
    for name in needed:
        if name not in known:
            raise RunError(
                f"The frame has no column '{name}'.{nearest(name, known)} It has: {', '.join(known)}. {hint}"
            )
