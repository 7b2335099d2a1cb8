"""Trajectories: what each sample went through over the rounds of a run, and what each round changed.

Right in one round and wrong in the next is a forgetting event, after Toneva et al., "An Empirical Study of
Example Forgetting during Deep Neural Network Learning", ICLR 2019 (arXiv:1812.05159).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from timelapse.analysis.coded_answers import CodedAnswers, coded_answers, first_rows
from timelapse.reading.evolution import check_columns
from timelapse.scoring.scorers import normalise

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CLASSES = ("always_right", "learned", "forgotten", "oscillating", "never")
"""What a sample can have gone through; see `classify`."""

RIGHT = 1.0
"""The score from which an answer counts as right where nothing else is said."""

_SLACK = 1e-12  # three times 0.7 has a mean just below 0.7
_SAMPLE = ("run_id", "run_name", "set", "sample_id", "prompt", "reference")
_ROUND = ("run_id", "set", "step", "epoch")


def reaches(value: Any, least: float) -> Any:
    """Return whether a score, or each of an array, is at least `least`, but for rounding."""
    return value >= least - _SLACK


def classify(right: Sequence[bool | None]) -> str | None:
    """Return the class of a sample that was right or wrong in these rounds; None where no round is known.

    - `always_right`, `never`: right in every known round, in none;
    - `learned`: wrong first, then right once and for all;
    - `forgotten`: right before, wrong at the end, and forgotten only once;
    - `oscillating`: everything else.

    Args:
        right: Whether the sample was right in each round, in order; None where that is unknown. Such a round
            is skipped.
    """
    known = [bool(each) for each in right if each is not None]
    if not known:
        return None
    if len(set(known)) == 1:
        return "always_right" if known[0] else "never"
    changes = [after for before, after in pairwise(known) if before != after]
    if known[-1]:
        return "learned" if len(changes) == 1 else "oscillating"
    return "forgotten" if changes.count(False) == 1 else "oscillating"


def trajectories(
    frame: pd.DataFrame, score: str | None = None, *, right: float | None = None
) -> pd.DataFrame:
    """Return what each sample went through over the rounds: a row per run, set and sample.

    An answer that failed, or whose score is missing or no finite number, is unknown and skipped. Of several
    attempts at a step the newest counts. Of several generations the mean of the known scores counts.

    Args:
        frame: What `load_predictions` returned, of one or several runs.
        score: Name of a column of numbers, higher is better; by default `exact_match`, else the first score.
        right: The score from which an answer counts as right; by default 1.0, whatever the score, so give it
            for one that does not end at 1.

    Returns:
        A frame in the order of `frame` with the columns run_id, run_name, set, sample_id, prompt, reference,
        and, where not said otherwise of type Int64:

        - rounds: rounds in which it is known whether the sample was right;
        - first_right, last_right: first and last step at which it was; missing if it never was;
        - flips: how often it changed between right and wrong; forgetting_events: from right to wrong;
        - settled_since: the step at which its text became what it has been ever since. With several
          generations none of them changed. Missing if it was answered in one round only, or if its last
          answer differs from the one before;
        - class (string): see `classify`; missing without a known round.

    Raises:
        RunError: The frame lacks a column that is needed, or has rows and no such score.
    """
    import numpy as np
    import pandas as pd

    answers = coded_answers(frame, score, _SAMPLE, texts_alone=False)
    states = _states(answers, right)
    names = first_rows(answers.rows, answers.codes["sample"], _SAMPLE)
    by_sample = states.groupby("sample")
    counts = by_sample.agg(
        rounds=("right", "size"), right=("right", "sum"), flips=("flip", "sum"), forgot=("forgot", "sum")
    )
    ends_right = by_sample["right"].last().to_numpy(bool)
    classes = np.select(
        [
            counts["right"] == counts["rounds"],
            counts["right"] == 0,
            (counts["flips"] == 1) & ends_right,
            (counts["forgot"] == 1) & ~ends_right,
        ],
        ["always_right", "never", "learned", "forgotten"],
        "oscillating",
    )
    steps = states[states["right"]].groupby("sample")["step"].agg(["first", "last"]).reindex(names.index)
    full = counts.reindex(names.index, fill_value=0)
    return names.assign(
        rounds=full["rounds"].astype("Int64"),
        first_right=steps["first"].astype("Int64"),
        last_right=steps["last"].astype("Int64"),
        flips=full["flips"].astype("Int64"),
        forgetting_events=full["forgot"].astype("Int64"),
        settled_since=_settled(answers).reindex(names.index).astype("Int64"),
        **{"class": pd.Series(classes, counts.index, pd.StringDtype()).reindex(names.index)},
    ).reset_index(drop=True)


def round_changes(
    frame: pd.DataFrame, score: str | None = None, *, right: float | None = None
) -> pd.DataFrame:
    """Return what each round changed: a row per run, set and step, steps in ascending order.

    Arguments, errors and what counts as right as for `trajectories`. A frame without any score still has
    texts: then nothing is known to be right, and the last two columns tell what changed.

    Returns:
        A frame with the columns run_id, set, step (int64), epoch (float64) and

        - right, known: samples that are right, and those of which it is known (Int64);
        - learned, forgotten: samples that are right and were wrong when last known, and the other way round,
          so that forgotten adds up to the forgetting events; net: learned - forgotten (Int64);
        - churn: share of answers whose text is not that of the round before, over those answered in both,
          each generation by itself; range 0..1, as the metric `churn`;
        - edit_distance: over the same answers the mean of 1 - `edit_similarity` to the text of the round
          before; range 0..1. Unlike churn it does not see white space (see `normalise`).

        The first round of a run's set has no learned, forgotten, net, churn and edit_distance; a round
        without an answer that the round before has too lacks the last two.
    """
    answers = coded_answers(frame, score, _ROUND, texts_alone=True)
    states = _states(answers, right)
    rounds = first_rows(answers.rows, answers.codes["round"], _ROUND).sort_index()
    first = ~answers.codes.drop_duplicates("round").set_index("round")["run_set"].sort_index().duplicated()
    states["learned"] = states["flip"] & states["right"]
    counts = states.groupby("round").agg(
        right=("right", "sum"), known=("right", "size"), learned=("learned", "sum"), forgot=("forgot", "sum")
    )
    counts = counts.reindex(rounds.index, fill_value=0).astype("Int64")
    learned, forgotten = counts["learned"].mask(first), counts["forgot"].mask(first)
    changes = _text_changes(answers, distances=True).reindex(rounds.index)
    return rounds.assign(
        right=counts["right"],
        known=counts["known"],
        learned=learned,
        forgotten=forgotten,
        net=learned - forgotten,
        churn=changes["churn"].astype(float),
        edit_distance=changes["edit_distance"].astype(float),
    ).reset_index(drop=True)


def settled_since(frame: pd.DataFrame) -> dict[tuple[str, str], int | None]:
    """Return since when no text changes any more, by run id and set: the first step of churn 0 to the end.

    At that step the texts are those of the round before. None if the last round still changed a text, if it
    shares no answer with the one before, or if there is one round only. Scores are not needed.

    Raises:
        RunError: The frame lacks a column that is needed.
    """
    answers = coded_answers(frame, None, _ROUND, texts_alone=True)
    rounds = first_rows(answers.rows, answers.codes["round"], _ROUND).sort_index()
    still = _text_changes(answers, distances=False)["churn"].reindex(rounds.index).eq(0)
    found: dict[tuple[str, str], int | None] = {}
    lists = (rounds[name].tolist() for name in ("run_id", "set", "step"))
    for run_id, set_name, step, same in zip(*lists, still.tolist(), strict=True):
        since = found.get((run_id, set_name))
        found[run_id, set_name] = (step if since is None else since) if same else None
    return found


def class_counts(trajectories_frame: pd.DataFrame) -> dict[str, int]:
    """Return how many samples are of each class, in the order of `CLASSES`; samples without one do not count.

    Raises:
        RunError: The frame has no column `class`, so it is not what `trajectories` returned.
    """
    check_columns(trajectories_frame, ["class"], "It should be what trajectories() returned.")
    counts = trajectories_frame["class"].value_counts()
    return {name: int(counts.get(name, 0)) for name in CLASSES}


def _states(answers: CodedAnswers, right: float | None) -> pd.DataFrame:
    """Return a row per sample and round where it is known whether it was right, ordered by both.

    Columns: sample, round, step, right, flip and forgot (both against the round known before).
    """
    import numpy as np

    codes = answers.codes
    known = codes[codes["ok"] & np.isfinite(codes["value"])]
    states: pd.DataFrame = known.groupby(["sample", "round", "step"])["value"].mean().reset_index()
    states["right"] = reaches(states.pop("value"), RIGHT if right is None else right)
    same = states["sample"].eq(states["sample"].shift())
    states["flip"] = same & states["right"].ne(states["right"].shift())
    states["forgot"] = states["flip"] & ~states["right"]
    return states


def _answered(answers: CodedAnswers) -> pd.DataFrame:
    """Return the answers ordered by lane and round, with the text and round of the lane's answer before.

    Without one `before` and `round_before` are -1.
    """
    codes = answers.codes
    ordered = codes[codes["ok"]].sort_values(["lane", "round"])
    same = ordered["lane"].eq(ordered["lane"].shift())
    return ordered.assign(
        before=ordered["text"].shift(fill_value=-1).where(same, -1),
        round_before=ordered["round"].shift(fill_value=-1).where(same, -1),
    )


def _settled(answers: CodedAnswers) -> pd.Series[int]:
    """Return the step since which a sample's texts are what they are; samples that did not settle lack."""
    given = _answered(answers)
    changed = given[(given["before"] >= 0) & (given["before"] != given["text"])]
    ends = given.groupby("sample")["step"].agg(["min", "max"])
    since = changed.groupby("sample")["step"].max().reindex(ends.index).fillna(ends["min"])
    return since[since < ends["max"]]


def _text_changes(answers: CodedAnswers, *, distances: bool) -> pd.DataFrame:
    """Return churn and edit_distance by round, where there are answers given in the round before too."""
    given = _answered(answers)
    both = given[(given["round_before"] >= 0) & (given["round_before"] == given["round"] - 1)]
    changed = both["text"] != both["before"]
    both = both.assign(churn=changed, edit_distance=0.0)
    if distances:
        pairs = both.loc[changed, ["before", "text"]]
        both.loc[changed, "edit_distance"] = _distances(answers.texts, pairs)
    return both.groupby("round")[["churn", "edit_distance"]].mean()


def _distances(texts: pd.Index[str], pairs: pd.DataFrame) -> np.ndarray:
    """Return 1 - `edit_similarity` of each pair of texts, without a Python call for each."""
    import numpy as np
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cpdist

    used, places = np.unique(pairs.to_numpy(), return_inverse=True)
    plain = np.array([normalise(text) for text in texts[used]], dtype=object)
    befores, afters = plain[places.reshape(-1, 2)].T
    alike: np.ndarray = cpdist(befores, afters, scorer=Levenshtein.normalized_similarity, dtype=np.float64)
    return 1 - alike
