"""Judges that hang, end the program, cost money, or are gone: none holds up a run or loses its rounds."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mlflow
import pytest
from click.testing import CliRunner
from stored import question_set, store_run

from timelapse import load_predictions, names, start_run
from timelapse.cli.main import main
from timelapse.errors import ConfigError, TimelapseWarning
from timelapse.reading.runs import find_run
from timelapse.rescoring import rescore
from timelapse.rounds import Prediction, Round
from timelapse.samples import Sample
from timelapse.scoring import engine
from timelapse.scoring.engine import Judges, Question, judge, revived_judges
from timelapse.scoring.scorer import make_scorer, make_scorers
from timelapse.scoring.validators import make_validators
from timelapse.writing.metrics import round_metrics
from timelapse.writing.spool import Header, Spool

SAMPLES = [Sample(({"role": "user", "content": text},), reference="4") for text in ("2+2?", "3+1?", "5-1?")]
QUESTIONS = {sample.sample_id: Question(sample.prompt, sample.reference) for sample in SAMPLES}
ROUND = Round(
    10, tuple(Prediction(sample.sample_id, text) for sample, text in zip(SAMPLES, "4x4", strict=True))
)
ROWS = [{"prompt": "2+2?", "prediction": "4", "reference": "4"}, {"prompt": "1+1?", "prediction": "3"}]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a hanging judge waits for; nobody waits long for the judge."""
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 0.2)
    opened = threading.Event()
    yield opened
    opened.set()
    for thread in threading.enumerate():
        if thread.name == "timelapse-judge":
            thread.join()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's whose modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_judges", None)


def test_a_scorer_that_hangs_is_left_behind_and_not_asked_again(gate: threading.Event) -> None:
    asked: list[str] = []

    def stuck(prediction: str) -> float:
        asked.append(prediction)
        gate.wait()
        return 1.0

    judges = Judges(make_scorers([stuck, "exact_match"]))
    first, problems = judge(ROUND, QUESTIONS, judges)
    second, again = judge(ROUND, QUESTIONS, judges)

    assert asked == ["4"]
    assert [row.scores["exact_match"] for row in first.predictions] == [1.0, 0.0, 1.0]
    assert all(math.isnan(row.scores["stuck"]) for row in (*first.predictions, *second.predictions))
    assert problems == [
        "the scorer 'stuck' failed: TimeoutError: no answer within 0.2 s; it is not asked again"
    ]
    assert again == ["the scorer 'stuck' failed: TimeoutError: it hung before, and is not asked again"]


def test_a_validator_that_hangs_or_raises_has_neither_passed_nor_refused(
    gate: threading.Event, module: Path
) -> None:
    (module / "my_judges.py").write_text(
        "import threading\n\ngate = threading.Event()\n\n"
        "def hangs(text):\n    gate.wait()\n\n"
        "def raises(text):\n    if text == '4':\n        raise KeyError(text)\n"
    )
    import my_judges  # type: ignore[import-not-found]

    validators = make_validators(["my_judges:hangs", "my_judges:raises", "json"])
    found, problems = judge(ROUND, QUESTIONS, Judges({}, validators))
    my_judges.gate.set()

    passed = [[each.passed for each in row.validations] for row in found.predictions]
    assert passed == [[None, None, True], [None, True, False], [None, None, True]]
    assert problems == [
        "the validator 'hangs' failed: TimeoutError: no answer within 0.2 s; it is not asked again",
        "the validator 'raises' failed: KeyError: '4'",
    ]
    metrics = round_metrics(found)
    assert metrics["valid_rate"] == 0.0  # of the one row that is decided
    assert metrics["valid_rate_raises"] == 1.0
    assert metrics["valid_rate_json"] == pytest.approx(2 / 3)
    assert "valid_rate_hangs" not in metrics


def test_a_row_is_valid_only_if_every_validator_could_say_so(
    tracking: mlflow.MlflowClient, module: Path
) -> None:
    (module / "my_judges.py").write_text(
        "def raises(text):\n    if text == '3':\n        raise KeyError(text)\n"
    )
    with (
        pytest.warns(TimelapseWarning, match="validator 'raises' failed: KeyError"),
        start_run("checked", validators=["json", "my_judges:raises"]) as run,
    ):
        run.log_predictions(ROWS, step=0)
    frame = load_predictions(run.run_id)
    assert frame["valid"].isna().tolist() == [False, True]
    assert frame["valid"].tolist()[0] is True
    assert frame["findings"].tolist() == ["", "raises: $: the validator 'raises' failed: KeyError: '3'"]


def test_a_judge_that_ends_the_program_does_not(tracking: mlflow.MlflowClient) -> None:
    def leaving(prediction: str) -> float:
        sys.exit(3)

    with (
        pytest.warns(TimelapseWarning, match="scorer 'leaving' failed: SystemExit: 3"),
        start_run("leaving", scorers=[leaving, "exact_match"]) as run,
    ):
        run.log_predictions(ROWS, step=0)
    assert run.run_id is not None
    assert tracking.get_run(run.run_id).info.status == "FINISHED"
    assert load_predictions(run.run_id)["exact_match"].tolist()[:1] == [1.0]


def test_a_function_with_options_is_the_same_in_another_process() -> None:
    near = make_scorer(partial(math.isclose, rel_tol=0.5), "near")
    assert near.spec == {"math:isclose": {"rel_tol": 0.5}}
    revived = revived_judges({"near": near.spec}, []).scorers["near"]
    assert (revived.name, revived.spec) == ("near", near.spec)


@pytest.mark.parametrize(
    "name", ["right", "learned", "churn", "valid_rate", "loop_rate", "pass_at_4", "seconds", "reference_nll"]
)
def test_no_score_takes_the_name_of_another_number(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is the name of another number of a round"):
        make_scorers({name: "exact_match"})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"math:isclose": {"rel_tol": math.nan}}, "not plain values"),
        ({"math:isclose": {"rel_tol": 1j}}, "not plain values"),
        ({"exact_match": {"name": ""}}, "has the name ''"),
        ({"exact_match": {"name": 3}}, "has the name 3"),
        ({"exact_match": {"seconds": 0}}, "has seconds: 0. Expected a number above 0"),
    ],
)
def test_odd_names_and_options_are_errors_before_the_training(spec: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scorer(spec)


def test_huge_scores_have_a_mean() -> None:
    rows = tuple(Prediction(sample.sample_id, "x", scores={"big": 1.5e308}) for sample in SAMPLES)
    assert round_metrics(Round(1, rows))["big"] == pytest.approx(1.5e308)


def test_the_run_itself_says_what_makes_an_answer_right(tracking: mlflow.MlflowClient) -> None:
    with start_run("own", scorers={"same_number": "numeric_match", "chrf": "chrf"}) as run:
        for step, answer in [(0, "it is 3"), (10, "it is 4")]:
            run.log_predictions([{"prompt": "2+2?", "prediction": answer, "reference": "4"}], step=step)
    shown = CliRunner().invoke(main, ["show", "own", "--format", "json"])
    found = json.loads(shown.stdout)["learning"]
    assert (found["score"], found["right_from"], found["classes"]["learned"]) == ("same_number", 1.0, 1)
    assert run.run_id is not None
    assert tracking.get_run(run.run_id).data.metrics[f"{names.METRIC_PREFIX}learned"] == 1.0


def test_a_retry_does_not_judge_again(tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def costly(prediction: str) -> float:
        asked.append(prediction)
        return 1.0

    refusals = iter([OSError("the disk is full"), OSError("still full")])
    real = mlflow.MlflowClient.log_artifact

    def refusing(client: mlflow.MlflowClient, run_id: str, path: str, folder: str | None = None) -> None:
        if "round-" in path and (error := next(refusals, None)):
            raise error
        real(client, run_id, path, folder)

    monkeypatch.setattr(mlflow.MlflowClient, "log_artifact", refusing)
    with (
        pytest.warns(TimelapseWarning, match="the disk is full"),
        start_run("costly", scorers=[costly]) as run,
    ):
        run.log_predictions(ROWS, step=0)
        time.sleep(0.5)
    assert asked == ["4", "3"]
    assert load_predictions(run.run_id)["costly"].tolist() == [1.0, 1.0]


def test_several_rescorings_at_once_keep_all(tracking: mlflow.MlflowClient) -> None:
    samples = question_set({"a?": "x", "b?": "y"})
    run_id = store_run(tracking, "old", samples, {0: {"a?": "x", "b?": "z"}})
    threads = [
        threading.Thread(target=rescore, args=(tracking, find_run(run_id), make_scorers([name])))
        for name in ("contains", "rouge_l", "token_f1")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frame = load_predictions(run_id)
    assert all(frame[name].tolist() == [1.0, 0.0] for name in ("contains", "rouge_l", "token_f1"))


def test_what_was_rescored_is_told_though_a_later_run_fails(tracking: mlflow.MlflowClient) -> None:
    samples = question_set({"a?": "x"})
    first = store_run(tracking, "first", samples, {0: {"a?": "x"}}, scores=["exact_match"])
    second = store_run(tracking, "second", samples, {0: {"a?": "x"}}, scores=["contains"])
    arguments = ["rescore", first, second, "--scorers", "contains", "--format", "json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert [each["run_id"] for each in json.loads(done.stdout)] == [first]
    assert "has the score 'contains' already" in done.stderr


def test_a_spool_is_not_let_go_while_somebody_sends_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "spool"))
    spool = Spool.create(Header(None, "http://127.0.0.1:1", owned=True, start_time=0))
    spool.in_use.acquire()
    spool.close(remove=False)
    assert Spool.take(spool.folder) is None
    spool.in_use.release()
    for _ in range(100):
        if (taken := Spool.take(spool.folder)) is not None:
            break
        time.sleep(0.05)
    assert taken is not None
    taken.close(remove=True)
