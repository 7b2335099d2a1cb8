"""How a run's predictions stand, by its tags and MLflow's status: no page is empty without a reason."""

from __future__ import annotations

from collections.abc import Mapping

from timelapse import names
from timelapse.report.documents import State

KINDS = ("not_started", "disabled", "live", "finished", "degraded", "failed", "killed")


def state(tags: Mapping[str, str], status: str, *, rounds: bool = True) -> State:
    """Return the state of a run.

    Args:
        tags: The run's tags.
        status: MLflow's status of the run.
        rounds: Whether it holds any round, as far as that is known.
    """
    if names.TAG_SCHEMA not in tags:
        return State("not_started", "not started: this run has logged no predictions")
    told = tags.get(names.TAG_STATUS, "live")
    kind = told.partition(":")[0].strip()
    if kind == "live" and status != "RUNNING":
        return _stopped(status)
    if kind not in KINDS:
        return State("live" if status == "RUNNING" else "finished", told)
    if kind == "live" and not rounds:
        return State("not_started", "not started: the first round appears here when it is done")
    return State(kind, told)


def _stopped(status: str) -> State:
    """Return the state of a run that MLflow calls ended, and whose rounds were never completed."""
    ended = {"FAILED": "failed", "KILLED": "killed"}.get(status, "degraded")
    return State(
        ended,
        f"{ended}: the run ended before its last rounds were stored; `timelapse sync` sends what is left",
    )
