"""A run as MLflow's REST API tells it, and as our documents do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.report.documents import RunInfo
from timelapse.report.state import state

if TYPE_CHECKING:
    from mlflow.entities import Run

RUN_ID = "^[a-zA-Z0-9][a-zA-Z0-9_-]{0,255}$"
"""What MLflow takes for a run's id."""


@dataclass(frozen=True)
class StoredRun:
    """What MLflow says of a run."""

    run_id: str
    """Its id."""
    name: str
    """Its name."""
    experiment_id: str
    """Id of its experiment."""
    status: str
    """MLflow's status."""
    deleted: bool
    """Whether it lies in MLflow's bin."""
    start_time: int | None = None
    """Milliseconds since 1970."""
    end_time: int | None = None
    """Milliseconds since 1970."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Its tags."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each metric."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> StoredRun:
        """Return the run in an answer of `runs/get`, or an element of one of `runs/search`."""
        found = answer.get("run", answer)
        info, data = found["info"], found.get("data", {})
        return cls(
            run_id=info["run_id"],
            name=info.get("run_name", ""),
            experiment_id=info.get("experiment_id", ""),
            status=info.get("status", "RUNNING"),
            deleted=info.get("lifecycle_stage", "active") != "active",
            start_time=_time(info.get("start_time")),
            end_time=_time(info.get("end_time")),
            tags={each["key"]: each.get("value", "") for each in data.get("tags", ())},
            metrics={each["key"]: _number(each.get("value")) for each in data.get("metrics", ())},
        )

    @cached_property
    def ours(self) -> tuple[tuple[str, str], ...]:
        """The tags that Timelapse has written, in order."""
        return tuple(sorted(item for item in self.tags.items() if item[0].startswith("timelapse.")))

    @property
    def rounds(self) -> int | None:
        """How many rounds it has logged, as it says; None where it does not."""
        told = self.tags.get(names.TAG_ROUNDS, "")
        return int(told) if told.isdecimal() and len(told) < 10 else None

    def info(self, experiment: str) -> RunInfo:
        """Return the run as a document; `experiment` is the name of its experiment."""
        return RunInfo(
            run_id=self.run_id,
            name=self.name,
            experiment_id=self.experiment_id,
            experiment=experiment,
            status=self.status,
            state=state(self.tags, self.status, rounds=self.rounds != 0),
            start_time=self.start_time,
            end_time=self.end_time,
            job_id=self.tags.get(names.TAG_JOB),
            claimed_by=self.tags.get(names.TAG_JOB_USER),
            share_of_training_time=self.metrics.get(names.metric("share_of_training_time")),
        )

    def entity(self) -> Run:
        """Return the run as MLflow's own class, as far as the tracker looks at it."""
        from mlflow.entities import Run, RunData, RunInfo

        info = RunInfo(
            self.run_id, self.experiment_id, "", self.status, 0, None, "active", run_name=self.name
        )
        return Run(info, RunData())


def is_run_id(text: str) -> bool:
    """Return whether MLflow would take a text for a run's id."""
    return re.fullmatch(RUN_ID.strip("^$"), text) is not None


def _time(told: Any) -> int | None:
    return int(told) if told else None


def _number(told: Any) -> float:
    return float("nan") if told is None else float(told)
