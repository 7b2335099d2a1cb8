"""A real MLflow with real runs, written once for all tests that only read."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mlflow
import pytest

from timelapse import Prediction, Round, Sample, SampleSet, start_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

VERBS = {"go": "went", "forget": "forgot", "sing": "sang"}


@dataclass(frozen=True)
class Place:
    """An MLflow in a folder, with what the tests need to know about it."""

    uri: str
    folder: Path
    ids: dict[str, str]

    samples: SampleSet

    def round(self, step: int, answers: Sequence[str | Exception | None], **settings: object) -> Round:
        return make_round(self.samples, step, answers, **settings)

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri)


def question(verb: str) -> str:
    return f"What is the past tense of {verb}?"


def sample_set(verbs: dict[str, str | None] | None = None, name: str = "main") -> SampleSet:
    pairs = (VERBS if verbs is None else verbs).items()
    return SampleSet(
        tuple(Sample(({"role": "user", "content": question(verb)},), reference=past) for verb, past in pairs),
        name=name,
    )


def make_round(
    samples: SampleSet, step: int, answers: Sequence[str | Exception | None], **settings: object
) -> Round:
    """A round with these answers; an exception becomes a failed row, None a skipped one."""
    rows = []
    for sample, answer in zip(samples, answers, strict=True):
        if isinstance(answer, Exception):
            error = f"{type(answer).__name__}: {answer}"
            rows.append(Prediction(sample.sample_id, status="error", error=error, finish_reason="error"))
        elif answer is None:
            rows.append(Prediction(sample.sample_id, status="skipped"))
        else:
            reason = "length" if len(answer) > 60 else "stop"
            tokens = len(answer.split())
            rows.append(
                Prediction(
                    sample.sample_id,
                    answer,
                    finish_reason=reason,
                    prompt_tokens=9,
                    prediction_tokens=tokens,
                    seconds=0.25,
                )
            )
    return Round(step, tuple(rows), **{"seconds": 0.75, "trigger": "epoch", **settings})  # type: ignore[arg-type]


@contextmanager
def settings_restored(folder: Path) -> Iterator[None]:
    """Restore MLflow's tracking URI and the spool's place; leave no run active."""
    uri = mlflow.get_tracking_uri()
    spool = os.environ.get("TIMELAPSE_SPOOL")
    os.environ["TIMELAPSE_SPOOL"] = str(folder / "spool")
    try:
        yield
    finally:
        assert mlflow.active_run() is None
        mlflow.set_tracking_uri(uri)
        if spool is None:
            del os.environ["TIMELAPSE_SPOOL"]
        else:
            os.environ["TIMELAPSE_SPOOL"] = spool


def new_place(folder: Path, empty_store: Path, *experiments: str) -> Place:
    shutil.copy(empty_store, folder / "mlflow.db")
    place = Place(f"sqlite:///{folder}/mlflow.db", folder, {}, sample_set())
    for name in experiments:
        place.client.create_experiment(name, artifact_location=f"file://{folder}/artifacts/{name}")
    return place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Place]:
    """Two experiments with runs in every state. Tests of this one only read.

    `verbs`: `first` (3 rounds), `twin` twice, `untouched` (no predictions), `gone` (deleted);
    `chat`: `long` (long answers, hostile text, two attempts), `off` (disabled), `waiting` (no rounds).
    """
    folder = tmp_path_factory.mktemp("mlflow")
    place = new_place(folder, empty_store, "verbs", "chat")
    with settings_restored(folder):
        _write_verbs(place)
        _write_chat(place)
        yield place


@pytest.fixture(scope="module")
def own_place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Place]:
    """An MLflow with the empty experiment `own`, for tests that write."""
    folder = tmp_path_factory.mktemp("own")
    place = new_place(folder, empty_store, "own")
    with settings_restored(folder):
        yield place


def _write_verbs(place: Place) -> None:
    samples = sample_set()

    def open_run(name: str):
        return start_run(name, experiment="verbs", tracking_uri=place.uri)

    with open_run("first") as run:
        run.log_samples(samples)
        run.log_round(make_round(samples, 0, ["goed", "forgetted", "the"], trigger="baseline", epoch=0.0))
        run.log_round(make_round(samples, 10, ["went", "forgetted", "sanged"], epoch=1.0))
        run.log_round(make_round(samples, 20, ["went", "forgot", RuntimeError("out of memory")], epoch=2.0))
        place.ids["first"] = run.run_id
    for number in (1, 2):
        time.sleep(0.002)
        with open_run("twin") as run:
            run.log_samples(samples)
            run.log_round(make_round(samples, 5, ["went", "forgot", "sang"]))
            place.ids[f"twin{number}"] = run.run_id
    with open_run("gone") as run:
        run.log_samples(samples)
        place.ids["gone"] = run.run_id
    place.client.delete_run(place.ids["gone"])
    with mlflow.start_run(run_name="untouched", experiment_id=run.experiment_id) as plain:
        place.ids["untouched"] = plain.info.run_id


HOSTILE = "\x1b[31mred\x07 [bold]not markup[/bold] \u202eevil"


def _write_chat(place: Place) -> None:
    samples = sample_set({"cut": "cut", "long": "a long answer with many words in it", "free": None})

    def open_run(name: str):
        time.sleep(0.002)
        return start_run(name, experiment="chat", tracking_uri=place.uri)

    with open_run("long") as run:
        run.log_samples(samples)
        run.log_round(
            make_round(samples, 0, ["cut", "a long answer that has no end " * 3, HOSTILE], trigger="baseline")
        )
        run.log_round(make_round(samples, 7, ["old attempt", "old", "old"], epoch=0.5))
        run.log_round(
            make_round(samples, 7, ["cut", "a long answer with some words in it", None], epoch=0.5, attempt=1)
        )
        place.ids["long"] = run.run_id
    with open_run("off") as run:
        run.disable("no samples were given")
        place.ids["off"] = run.run_id
    with open_run("waiting") as run:
        run.log_samples(samples)
        place.ids["waiting"] = run.run_id
