"""One contract, every store: what is logged is read back exactly, whatever keeps it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner

from timelapse import (
    Prediction,
    Round,
    Sample,
    SampleSet,
    TimelapseError,
    load_predictions,
    names,
    start_run,
)
from timelapse.cli.main import main

if TYPE_CHECKING:
    from conftest import Store
    from mlflow.entities import Run


def asked(question: str, reference: str | None) -> Sample:
    return Sample(({"role": "user", "content": question},), reference)


MAIN = SampleSet(
    (
        asked("What is the past tense of go?", "went"),
        asked("שלום, مرحبا \u202e!", "🦊 fox"),
        asked("Say nothing, over\ntwo lines", ""),
        asked("Open question", None),
    )
)
PROBE = SampleSet((asked("What is the past tense of go?", "went"), asked("2 + 2", "4")), name="probe")
UNTRANSLATABLE = RuntimeError("out of memory \ud83e 🧨")

ANSWERS: Sequence[tuple[dict[str, Any], SampleSet, Sequence[str | Exception | None]]] = (
    ({"step": 0, "epoch": 0.0, "trigger": "baseline"}, MAIN, ["goed", "🦊", "nothing", "a\x00b\x1b[31m"]),
    ({"step": 0, "epoch": 0.0, "trigger": "baseline"}, PROBE, ["", "4"]),
    ({"step": 10, "epoch": 0.5, "trigger": "steps"}, MAIN, ["the first", "attempt", "at", "step 10"]),
    (
        {"step": 10, "epoch": 0.5, "trigger": "steps", "attempt": 1},
        MAIN,
        ["went", UNTRANSLATABLE, "", None],
    ),
    ({"step": 10, "epoch": 0.5, "trigger": "steps", "attempt": 1}, PROBE, ["went", "5"]),
    (
        {"step": 200, "epoch": 1.0, "trigger": "end", "attempt": 1},
        MAIN,
        ["went", "🦊 fox", "", "half \ud83d, שלום, e\u0301 👩‍👩‍👧"],
    ),
)
"""Every round with its set and answers: an exception is a failed row, None a skipped one."""


def row(sample: Sample, answer: str | Exception | None) -> Prediction:
    if answer is None:
        return Prediction(sample.sample_id, status="skipped")
    if isinstance(answer, Exception):
        error = f"{type(answer).__name__}: {answer}"
        return Prediction(sample.sample_id, status="error", error=error, finish_reason="error")
    numbers = {"prompt_tokens": 9, "prediction_tokens": len(answer), "seconds": 0.125}
    return Prediction(sample.sample_id, answer, finish_reason="stop", **numbers)


def round_of(
    settings: dict[str, Any], samples: SampleSet, answers: Sequence[str | Exception | None]
) -> Round:
    rows = tuple(row(sample, answer) for sample, answer in zip(samples, answers, strict=True))
    return Round(predictions=rows, set_name=samples.name, seconds=0.5, **settings)


ROUNDS = [round_of(*entry) for entry in ANSWERS]


@dataclass(frozen=True)
class Logged:
    """The run that the tests read, and where it is."""

    store: Store
    run_id: str

    @property
    def run(self) -> Run:
        return self.store.client.get_run(self.run_id)

    def history(self, metric: str) -> list[tuple[int, float]]:
        points = self.store.client.get_metric_history(self.run_id, metric)
        return [(point.step, point.value) for point in sorted(points, key=lambda point: point.timestamp)]


@pytest.fixture(scope="module")
def logged(store: Store) -> Logged:
    """A run with two sets, three steps, two attempts, and every kind of row."""
    tags = {"team": "größe"}
    with start_run("contract ✓", experiment=store.experiment, tracking_uri=store.uri, tags=tags) as run:
        run.log_samples(MAIN, decoding={"max_new_tokens": 64}, chat_template="0123456789abcdef")
        run.log_samples(PROBE, decoding={"max_new_tokens": 64}, chat_template="0123456789abcdef")
        for number, round_ in enumerate(ROUNDS):
            run.log_round(round_, {"reference_loss": number / 4})
            run.log_metrics({"loss": 1 / (number + 1)}, number)
        run.log_params({"samples": "eval.jsonl"})
    assert not run.fence.failures
    return Logged(store, str(run.run_id))


def expected_rows(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return what `load_predictions` must say of these rounds, from the records alone."""
    samples = {"main": list(MAIN), "probe": list(PROBE)}
    return [
        {
            "step": round_.step,
            "epoch": round_.epoch,
            "trigger": round_.trigger,
            "set": round_.set_name,
            "attempt": round_.attempt,
            "prompt": sample.prompt,
            "reference": sample.reference,
            **{name: getattr(row, name) for name in ("sample_id", "generation", "status", "finish_reason")},
            **{name: getattr(row, name) for name in ("prompt_tokens", "prediction_tokens", "seconds")},
            "prediction": as_stored(row.prediction),
            "error": as_stored(row.error),
            "exact_match": float(row.prediction == sample.reference)
            if row.status == "ok" and sample.reference is not None
            else None,
        }
        for round_ in rounds
        for sample, row in zip(samples[round_.set_name], round_.predictions, strict=True)
    ]


def as_stored(text: str | None) -> str | None:
    """Return a text as UTF-8 holds it: half a surrogate pair becomes U+FFFD."""
    halves = "".join("\ufffd" if 0xD800 <= ord(letter) < 0xE000 else letter for letter in text or "")
    return None if text is None else halves


def plain_rows(frame: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Any]]:
    values = [{name: entry[name] for name in columns} for entry in frame.to_dict("records")]
    return sorted(
        ({name: None if pd.isna(value) else value for name, value in entry.items()} for entry in values),
        key=lambda entry: (entry["set"], entry["step"], entry["attempt"], entry["sample_id"]),
    )


def assert_frame_says(frame: pd.DataFrame, rounds: Sequence[Round]) -> None:
    expected = expected_rows(rounds)
    expected.sort(key=lambda entry: (entry["set"], entry["step"], entry["attempt"], entry["sample_id"]))
    assert frame.attrs["problems"] == []
    assert plain_rows(frame, list(expected[0])) == expected


def test_every_attempt_is_read_back_as_it_was_logged(logged: Logged) -> None:
    frame = load_predictions(logged.run_id, tracking_uri=logged.store.uri, attempts="all")

    assert_frame_says(frame, ROUNDS)
    assert set(frame["run_id"]) == {logged.run_id}
    assert set(frame["run_name"]) == {"contract ✓"}


def test_the_newest_attempt_is_read_unless_all_are_asked_for(logged: Logged) -> None:
    frame = load_predictions(experiment=logged.store.experiment, tracking_uri=logged.store.uri)

    assert_frame_says(frame[frame["run_id"] == logged.run_id], [*ROUNDS[:2], *ROUNDS[3:]])


def test_rows_come_by_step_then_in_the_order_of_the_samples(logged: Logged) -> None:
    frame = load_predictions(logged.run_id, tracking_uri=logged.store.uri)

    main = frame[frame["set"] == "main"]
    assert main["step"].tolist() == [0] * 4 + [10] * 4 + [200] * 4
    assert main["prompt"].tolist() == [sample.prompt for sample in MAIN] * 3


def test_the_run_says_what_it_holds(logged: Logged) -> None:
    run = logged.run

    assert run.info.status == "FINISHED"
    assert run.data.tags["team"] == "größe"
    assert run.data.tags[names.TAG_SCHEMA] == "1"
    assert run.data.tags[names.TAG_ROUNDS] == str(len(ROUNDS))
    assert run.data.tags[names.TAG_STATUS].startswith("degraded: 1 of 4 rows failed at step 10")
    assert run.data.params["timelapse.samples"] == "eval.jsonl"


def test_metrics_have_a_point_for_every_round(logged: Logged) -> None:
    assert logged.history("predictions/exact_match") == [(0, 0.0), (10, 0.0), (10, 1.0), (200, 1.0)]
    assert logged.history("predictions/probe/exact_match") == [(0, 0.5), (10, 0.5)]
    assert logged.history("predictions/error_rate") == [(0, 0.0), (10, 0.0), (10, 0.25), (200, 0.0)]
    extra = logged.history("predictions/reference_loss")
    assert extra == [(0, 0.0), (10, 0.5), (10, 0.75), (200, 1.25)]
    losses = dict(logged.history("loss"))
    assert losses == {number: pytest.approx(1 / (number + 1)) for number in range(len(ROUNDS))}


def test_the_sample_sets_are_dataset_inputs(logged: Logged) -> None:
    inputs = logged.run.inputs.dataset_inputs

    found = {entry.dataset.name: (entry.dataset.digest, entry.dataset.profile) for entry in inputs}
    assert found == {
        f"predictions-{samples.name}": (samples.fingerprint, json.dumps({"num_rows": len(samples)}))
        for samples in (MAIN, PROBE)
    }
    assert {tag.value for entry in inputs for tag in entry.tags} == {names.DATASET_CONTEXT}


def test_stock_mlflow_shows_the_latest_round_as_a_table(logged: Logged) -> None:
    table = logged.store.client.load_table(
        logged.run.info.experiment_id, "timelapse/latest.json", run_ids=[logged.run_id]
    )

    assert table["prompt"].tolist() == [sample.prompt for sample in MAIN]
    assert [as_stored(text) for text in table["prediction"]] == [
        as_stored(entry.prediction) for entry in ROUNDS[-1].predictions
    ]
    assert set(table["step"]) == {200}
    assert table["exact_match"].tolist()[:3] == [1.0, 1.0, 1.0]
    assert math.isnan(table["exact_match"].tolist()[3])


def test_the_manifest_names_samples_and_decoding(logged: Logged) -> None:
    manifest = mlflow.artifacts.load_dict(f"{logged.run.info.artifact_uri}/timelapse/manifest.json")

    assert manifest["schema"] == 1
    assert manifest["sample_sets"] == {
        samples.name: {"fingerprint": samples.fingerprint, "count": len(samples)} for samples in (MAIN, PROBE)
    }
    assert manifest["decoding"] == {"max_new_tokens": 64}
    assert manifest["packages"]["mlflow"] == mlflow.__version__


@pytest.fixture
def command(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command of the program on the store, and returns the JSON that it prints."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> Any:
        place = ["--tracking-uri", store.uri, "--experiment", store.experiment, "--format", "json"]
        result = CliRunner().invoke(main, [*arguments, *place])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def test_the_program_lists_the_run(logged: Logged, command: Callable[..., Any]) -> None:
    [found] = [entry for entry in command("runs") if entry["run_id"] == logged.run_id]

    assert found["name"] == "contract ✓"
    assert (found["mlflow_status"], found["rounds"]) == ("FINISHED", len(ROUNDS))
    assert found["scores"]["exact_match"] == {"first": 0.0, "last": 1.0}


def test_the_program_shows_the_answers_of_a_set(logged: Logged, command: Callable[..., Any]) -> None:
    text = json.dumps(command("show", "contract ✓", "--set", "probe"), ensure_ascii=False)

    assert "What is the past tense of go?" in text
    assert "the first" not in text  # that is the set `main`


def test_nothing_is_served_of_a_deleted_run(store: Store, command: Callable[..., Any]) -> None:
    with start_run("deleted", experiment=store.experiment, tracking_uri=store.uri) as run:
        run.log_samples(PROBE)
        run.log_round(ROUNDS[1])
    assert run.run_id in set(load_predictions("deleted", tracking_uri=store.uri)["run_id"])
    store.client.delete_run(str(run.run_id))

    frame = load_predictions(experiment=store.experiment, tracking_uri=store.uri)
    assert run.run_id not in set(frame["run_id"])
    with pytest.raises(TimelapseError, match="No run"):
        load_predictions(run.run_id, tracking_uri=store.uri)
    assert run.run_id not in [entry["run_id"] for entry in command("runs")]


def test_a_training_that_fails_leaves_a_failed_run_with_its_rounds(store: Store) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        start_run("crashed", experiment=store.experiment, tracking_uri=store.uri) as run,
    ):
        run.log_samples(PROBE)
        run.log_round(ROUNDS[1])
        1 / 0  # noqa: B018 - the training's own mistake

    stored = store.client.get_run(str(run.run_id))
    assert stored.info.status == "FAILED"
    assert stored.data.tags[names.TAG_STATUS] == "failed: ZeroDivisionError: division by zero"
    assert_frame_says(load_predictions(run.run_id, tracking_uri=store.uri), [ROUNDS[1]])


def test_a_run_that_is_opened_again_keeps_its_old_rounds(store: Store) -> None:
    again = replace(ROUNDS[4], step=30)
    with start_run("reopened", experiment=store.experiment, tracking_uri=store.uri) as run:
        run.log_samples(PROBE)
        run.log_round(ROUNDS[1])
    with start_run(run_id=run.run_id, tracking_uri=store.uri) as run:
        run.log_samples(PROBE)
        run.log_round(again)

    stored = store.client.get_run(str(run.run_id))
    assert (stored.info.status, stored.info.run_name) == ("FINISHED", "reopened")
    assert_frame_says(load_predictions(run.run_id, tracking_uri=store.uri), [ROUNDS[1], again])
