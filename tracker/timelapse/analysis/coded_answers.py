"""A frame's answers made ready for counting: newest attempts only, and numbers instead of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from timelapse.reading.choice import choose_score
from timelapse.reading.evolution import check_columns
from timelapse.reading.tidy import COLUMNS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_KEY = ("run_id", "set", "sample_id", "generation", "step", "prediction", "status")


class CodedAnswers(NamedTuple):
    """A frame's rows of the newest attempts, and beside them whole numbers that are quick to group."""

    rows: pd.DataFrame
    """The rows; of rows for the same generation in the same round the last one."""
    codes: pd.DataFrame
    """run_set, sample, lane (a sample's generation), round, step, text, ok, value; a row for each of `rows`.
    Runs' sets and samples are numbered as they come, rounds by run's set and step without a gap."""
    texts: pd.Index[str]
    """The distinct texts, by number."""


def coded_answers(
    frame: pd.DataFrame, score: str | None, needed: Iterable[str], *, texts_alone: bool
) -> CodedAnswers:
    """Return the answers of a frame as `load_predictions` returns it, which is not changed.

    Args:
        frame: The frame; its rows may come in any order, and `attempt` may be missing.
        score: The column behind `value`; by default `exact_match`, else the first score.
        needed: The columns that must be there beside those that tell answers apart.
        texts_alone: A frame without any score will do where none is named; then `value` is NaN.

    Raises:
        RunError: A column is missing; or there are rows, and no such score. Names the nearest that there is.
    """
    import numpy as np
    import pandas as pd

    check_columns(frame, dict.fromkeys([*_KEY, *needed]))
    name = _score_column(frame, score, texts_alone=texts_alone)
    rows = _newest(frame)
    codes = pd.DataFrame(
        {"run_set": _numbered(rows, ["run_id", "set"]), "step": rows["step"].to_numpy("int64")}
    )
    codes["sample"] = _numbered(codes[["run_set"]].assign(id=rows["sample_id"].array), ["run_set", "id"])
    generations = codes[["sample"]].assign(generation=rows["generation"].array)
    codes["lane"] = _numbered(generations, ["sample", "generation"])
    codes["round"] = codes.groupby(["run_set", "step"]).ngroup()
    codes["text"], texts = pd.factorize(rows["prediction"].fillna(""))
    codes["ok"] = rows["status"].fillna("ok").eq("ok").to_numpy(bool)
    codes["value"] = rows[name].to_numpy(float, na_value=np.nan) if name else np.nan
    once = ~codes.duplicated(["lane", "round"], keep="last").to_numpy()
    return CodedAnswers(
        rows[once].reset_index(drop=True), codes[once].reset_index(drop=True), pd.Index(texts)
    )


def _score_column(frame: pd.DataFrame, score: str | None, *, texts_alone: bool) -> str | None:
    """Return the column of the score; None where there is none and none is needed."""
    from pandas.api.types import is_float_dtype, is_numeric_dtype

    if score in frame.columns and is_numeric_dtype(frame[score]):
        return score
    known = [name for name in map(str, frame.columns) if name not in COLUMNS and is_float_dtype(frame[name])]
    if not known and score is None and texts_alone:
        return None
    if frame.empty and (score is not None or not known):  # as of a run that waits for its first round
        return None
    return choose_score(known, score)


def _newest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the newest attempt at each round: a round is replaced as a whole."""
    if "attempt" not in frame.columns or frame["attempt"].nunique() < 2:
        return frame.reset_index(drop=True)
    newest = frame.groupby(["run_id", "set", "step"], dropna=False)["attempt"].transform("max")
    return frame[frame["attempt"] == newest].reset_index(drop=True)


def _numbered(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Return the number of each row's group; groups are numbered as they come."""
    numbers: np.ndarray = frame.groupby(columns, sort=False, dropna=False, observed=True).ngroup().to_numpy()
    return numbers


def first_rows(rows: pd.DataFrame, numbers: pd.Series[int], columns: Sequence[str]) -> pd.DataFrame:
    """Return these columns of the first row of each group, by the group's number."""
    first = ~numbers.duplicated()
    kinds = {name: COLUMNS[name] for name in columns}
    return rows.loc[first, list(columns)].astype(kinds).set_axis(numbers[first].to_numpy(), axis=0)
