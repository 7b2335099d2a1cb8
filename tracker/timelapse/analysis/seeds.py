"""Runs that differ by their seed alone, as groups: is one setting better than another, or is it the seeds?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from timelapse.analysis.noise import Summary, seed_summary
from timelapse.analysis.statistics import Interval
from timelapse.errors import RunError
from timelapse.hints import nearest
from timelapse.names import PARAM_PREFIX

KINDS = ("params", "tags")
"""What runs can be grouped by, before the dot."""
ALPHA = 0.05
"""A difference with a p below this is larger than seeds alone would explain."""

_NO_SPREAD = 1e-9  # equal numbers may deviate from their mean by a rounding error
_LISTED = 40
_NOBODYS = ("mlflow.", "timelapse.")  # names that no person wrote


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One run at one round: a single draw of what its settings can do."""

    run_id: str
    """The run's id."""
    run_name: str
    """The run's name."""
    group: str
    """What it shares with the other runs of its group: the value that runs are grouped by."""
    step: int
    """The step of the round."""
    means: Mapping[str, float]
    """The mean of each score over the round's answers; a score that no answer has is not there."""


@dataclass(frozen=True, slots=True)
class GroupScore:
    """One score of one group: every run counts once, whatever number of samples it answered."""

    group: str
    """The value that the runs share."""
    score: str
    """Name of the score; a higher one is better."""
    runs: int
    """Runs of the group that have the score."""
    mean: float | None
    """Mean of the runs' means; None without such a run."""
    deviation: float | None
    """Their sample standard deviation (n - 1); None for fewer than two runs."""
    interval: Interval | None
    """95 % t-interval of `mean`; None for fewer than two runs."""


@dataclass(frozen=True, slots=True)
class WelchTest:
    """Two groups against each other in one score."""

    score: str
    """Name of the score."""
    against: str
    """The group that the other one is compared with."""
    group: str
    """The other one."""
    difference: float
    """Mean of `group` minus mean of `against`."""
    p_value: float | None
    """Two-sided p of Welch's t-test, in 0..1; None if a group has one run, or no group has any spread."""

    @property
    def is_larger(self) -> bool:
        """Whether the difference is larger than seeds alone would explain."""
        return self.p_value is not None and self.p_value < ALPHA

    @property
    def verdict(self) -> str:
        """What that means, in words."""
        if self.p_value is None:
            return "nothing is known of the noise, so seeds alone may explain it"
        if self.is_larger:
            return "larger than seeds alone would explain"
        return "no larger than seeds alone may explain"


@dataclass(frozen=True, slots=True)
class Groups:
    """Runs by what they share: how good each group is, and how sure that is."""

    key: str
    """What the runs are grouped by, as `params.lr`."""
    score: str | None
    """The score that decides; None if the runs have none in common."""
    runs: tuple[SeedRun, ...]
    """The runs by group, within a group in the order given."""
    scoreboard: tuple[GroupScore, ...]
    """A line for each score and group, the score that decides first."""
    tests: tuple[WelchTest, ...]
    """For two groups one test a score that both have; none for one group, or three and more."""
    notes: tuple[str, ...]
    """What a reader must know besides: groups of one run, runs that are left out, …"""


def by_group(
    runs: Sequence[SeedRun], key: str = "group", score: str | None = None, notes: Sequence[str] = ()
) -> Groups:
    """Return runs as groups, with the mean of each and how much seeds alone move it.

    Groups come in the order of their values: of numbers if all are, else of the alphabet.

    Args:
        runs: The runs, each with its group and the means of its scores.
        key: What they are grouped by; for the reader.
        score: The score to put first.
        notes: What is known already of the runs; more may follow.
    """
    order = _ordered({run.group for run in runs})
    values = {
        name: {
            group: [run.means[name] for run in runs if run.group == group and name in run.means]
            for group in order
        }
        for name in _scores(runs, score)
    }
    summaries = {
        name: {group: seed_summary(found) for group, found in each.items()} for name, each in values.items()
    }
    return Groups(
        key=key,
        score=score,
        runs=tuple(sorted(runs, key=lambda run: order.index(run.group))),
        scoreboard=tuple(
            _line(name, group, found) for name, each in summaries.items() for group, found in each.items()
        ),
        tests=tuple(_tests(summaries)),
        notes=(*notes, *_notes(key, order, runs)),
    )


def _scores(runs: Sequence[SeedRun], first: str | None) -> list[str]:
    return sorted({name for run in runs for name in run.means}, key=lambda name: (name != first, name))


def _ordered(groups: Iterable[str]) -> list[str]:
    alphabetical = sorted(groups)
    try:
        return sorted(alphabetical, key=float)
    except ValueError:
        return alphabetical


def _line(score: str, group: str, found: Summary) -> GroupScore:
    interval = None if found.low is None or found.high is None else Interval(found.low, found.high)
    return GroupScore(group, score, found.n, found.mean, found.std, interval)


def _tests(summaries: Mapping[str, Mapping[str, Summary]]) -> Iterator[WelchTest]:
    for score, groups in summaries.items():
        if len(groups) == 2:
            (against, old), (group, new) = groups.items()
            if old.mean is not None and new.mean is not None:
                difference = round(new.mean - old.mean, 12)
                yield WelchTest(score, against, group, difference, welch(old, new))


def group_values(runs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], key: str) -> list[str | None]:
    """Return each run's value of `params.NAME` or `tags.NAME`, None where it has none.

    `params.learning_rate` also finds the one parameter `timelapse.….learning_rate`.

    Args:
        runs: Parameters and tags of each run.
        key: Whose value is wanted.

    Raises:
        RunError: The key is of neither kind, or no run has it; lists those that the runs have.
    """
    kind, dot, name = key.partition(".")
    if kind not in KINDS or not name:
        hint = "" if dot else f" Do you mean 'params.{key}'?"
        raise RunError(f"Runs are grouped by params.NAME or tags.NAME, not by '{key}'.{hint}")
    known = [each[KINDS.index(kind)] for each in runs]
    names = {one for each in known for one in each}
    ours = sorted(one for one in names if one.startswith(PARAM_PREFIX) and one.endswith(f".{name}"))
    if name not in names and len(ours) == 1:  # timelapse.training.learning_rate
        name = ours[0]
    if name not in names:
        raise RunError(_unknown(kind, name, known))
    return [each.get(name) for each in known]


def _unknown(kind: str, name: str, known: Sequence[Mapping[str, str]]) -> str:
    """Return what there is instead, first what differs between the runs."""
    ours = PARAM_PREFIX if kind == "params" else ""  # `params.lr` finds `timelapse.lr`
    shown = [{one.removeprefix(ours): value for one, value in each.items()} for each in known]
    names = {one for each in shown for one in each if not one.startswith(_NOBODYS)}
    there = sorted(names, key=lambda one: (len({each.get(one) for each in shown}) < 2, one))
    more = f" and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
    words = ", ".join(f"{kind}.{one}" for one in there[:_LISTED]) + more if there else "none"
    return f"No run has {kind}.{name}.{nearest(name, there)} The runs have: {words}."


def welch(before: Summary, after: Summary) -> float | None:
    """Return the two-sided p-value of Welch's t-test, in 0..1; None where it cannot be said.

    That is where a group has fewer than two runs, or where the runs of each group score all the same.

    Source: Welch (1947), "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34, as computed by scipy.
    """
    from scipy.stats import ttest_ind_from_stats  # type: ignore[import-untyped]

    if before.std is None or after.std is None:
        return None
    if max(before.std, after.std) < _NO_SPREAD:
        return None
    result = ttest_ind_from_stats(
        after.mean, after.std, after.n, before.mean, before.std, before.n, equal_var=False
    )
    return float(result.pvalue)


def _notes(key: str, groups: Sequence[str], runs: Sequence[SeedRun]) -> Iterator[str]:
    for group in groups:
        if sum(run.group == group for run in runs) == 1:
            yield f"{key} = {group} has one run: one run says nothing about noise"
    if len(groups) == 1:
        yield f"all runs have {key} = {groups[0]}: there is nothing to compare"
    if len(groups) > 2:
        yield f"{len(groups)} groups: Welch's t-test is for two; name the runs of two groups to have it"
