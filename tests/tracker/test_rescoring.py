"""New scores for stored rounds: in a file of their own, as metrics, and in everything that reads."""

from __future__ import annotations

import json
from collections.abc import Mapping

import mlflow
import pytest
from click.testing import CliRunner
from stored import question_set, store_run

from timelapse import compare, load_predictions, names, start_run
from timelapse.cli.main import main
from timelapse.errors import RunError
from timelapse.reading.runs import find_run
from timelapse.rescoring import rescore
from timelapse.scoring.scorer import make_scorers

REFERENCES: Mapping[str, str | None] = {"two and two?": "4", "a colour?": "red", "open?": None}


@pytest.fixture
def run_id(tracking: mlflow.MlflowClient) -> str:
    samples = question_set(REFERENCES)
    rounds = {
        0: {"two and two?": "five", "a colour?": "blue", "open?": "yes"},
        (10, 0): {"two and two?": "it is 4", "a colour?": "red", "open?": "no"},
        (10, 1): {"two and two?": "it is 3", "a colour?": "red", "open?": "no"},
    }
    return store_run(tracking, "old", samples, rounds)


def test_new_scores_join_the_old_ones(tracking: mlflow.MlflowClient, run_id: str) -> None:
    before = load_predictions(run_id, attempts="all")
    result = rescore(tracking, find_run(run_id), make_scorers(["numeric_match", len]))

    frame = load_predictions(run_id, attempts="all")
    assert frame["numeric_match"].tolist()[::3] == [0.0, 1.0, 0.0]
    assert frame["len"].tolist()[:3] == [4.0, 4.0, 3.0]
    assert frame["exact_match"].equals(before["exact_match"])
    assert (result.rows, result.means) == (9, {"numeric_match": 0.0, "len": 4.0})
    assert frame.attrs["problems"] == []
    history = {
        point.step: point.value for point in tracking.get_metric_history(run_id, "predictions/numeric_match")
    }
    assert history == {0: 0.0, 10: 0.0}
    files = [item.path for item in tracking.list_artifacts(run_id, names.ARTIFACT_FOLDER)]
    assert f"{names.ARTIFACT_FOLDER}/{result.file}" in files


def test_a_scorer_without_a_score_is_told_beside_one_whose_name_begins_alike(
    tracking: mlflow.MlflowClient, run_id: str
) -> None:
    scorers = make_scorers({"none": lambda prediction: None, "none_but_long": len})
    assert rescore(tracking, find_run(run_id), scorers).without == ("none",)
    several = make_scorers({"parts": lambda prediction: {"length": len(prediction)}})
    assert rescore(tracking, find_run(run_id), several).without == ()


def test_the_same_again_is_refused_and_another_name_is_not(
    tracking: mlflow.MlflowClient, run_id: str
) -> None:
    run = find_run(run_id)
    rescore(tracking, run, make_scorers(["contains"]))
    again = rescore(tracking, find_run(run_id), make_scorers(["contains"]))
    assert again.rows == 6
    with pytest.raises(RunError, match=r"has the score 'contains' already.*contains_2=contains"):
        rescore(tracking, find_run(run_id), make_scorers({"contains": "rouge_l"}))
    with pytest.raises(RunError, match="has the score 'exact_match' already"):
        rescore(tracking, find_run(run_id), make_scorers(["exact_match"]))
    rescore(tracking, find_run(run_id), make_scorers({"strict": "exact_match"}))
    frame = load_predictions(run_id)
    assert frame["strict"].equals(frame["exact_match"].rename("strict"))
    assert frame["contains"].tolist()[:2] == [0.0, 0.0]


def test_a_damaged_file_of_scores_is_reported_and_the_rest_is_read(
    tracking: mlflow.MlflowClient, run_id: str
) -> None:
    rescore(tracking, find_run(run_id), make_scorers(["contains"]))
    digest = "0" * 64
    tracking.set_tag(run_id, f"{names.TAG_SCORES}{digest[:16]}", digest)
    with pytest.warns(match=r"scores-0{16}\.parquet cannot be read"):
        frame = load_predictions(run_id)
    assert "contains" in frame.columns


def test_the_command(tracking: mlflow.MlflowClient, run_id: str) -> None:
    arguments = ["rescore", "old", "--scorers", "near=edit_similarity,rouge_l", "--format", "json"]
    done = CliRunner().invoke(main, [*arguments, "--scorers", "{numeric_match: {relative: 0.5}}"])
    assert done.exit_code == 0, done.output
    [result] = json.loads(done.stdout)
    assert sorted(result["means"]) == ["near", "numeric_match", "rouge_l"]
    assert result["means"]["numeric_match"] == 0.5
    wrong = CliRunner().invoke(main, ["rescore", "old", "--scorers", "rouge"])
    assert wrong.exit_code == 2
    assert "The scorer 'rouge' is not known. Did you mean 'rouge_l'?" in wrong.stderr


def test_show_tells_what_was_learned(tracking: mlflow.MlflowClient) -> None:
    samples = question_set({f"q{place}": "right" for place in range(5)})
    patterns = ["RRR", "WRR", "RWW", "RWR", "WWW"]
    rounds = {
        step: {
            f"q{place}": "right" if pattern[step] == "R" else "loop " * 50
            for place, pattern in enumerate(patterns)
        }
        for step in range(3)
    }
    store_run(tracking, "lessons", samples, rounds)
    shown = CliRunner().invoke(main, ["show", "lessons"]).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["always", "right", "1", "#0"] in lines
    assert ["learned", "1", "#1"] in lines
    assert ["forgotten", "1", "#2"] in lines
    assert ["oscillating", "1", "#3"] in lines
    assert ["never", "1", "#4"] in lines
    assert ["#3", "✓", "✗", "✓", "oscillating", "q3"] in lines
    assert "Best round by exact_match: step 0." in shown
    found = json.loads(CliRunner().invoke(main, ["show", "lessons", "--format", "json"]).stdout)["learning"]
    assert found["classes"] == dict.fromkeys(
        ("always_right", "learned", "forgotten", "oscillating", "never"), 1
    )
    assert found["samples"][2]["right"] == [True, False, False]


def test_the_onset_of_loops_is_told_by_the_run_and_by_a_comparison(tracking: mlflow.MlflowClient) -> None:
    with start_run("loops") as run:
        for step, answer in [(0, "red"), (10, "red"), (20, "the the " * 50), (30, "a b " * 50)]:
            run.log_predictions(
                [{"prompt": "a colour?", "prediction": answer, "reference": "red"}], step=step
            )
    assert run.run_id is not None
    tags = tracking.get_run(run.run_id).data.tags
    assert tags[names.TAG_HEALTH] == "loops began at step 20"
    notes = compare(["loops@0", "loops@30"]).notes
    assert any("loops began at step 20" in note for note in notes)
    with start_run("fine") as run:
        run.log_predictions([{"prompt": "a colour?", "prediction": "red", "reference": "red"}], step=0)
    assert run.run_id is not None
    tags = tracking.get_run(run.run_id).data.tags
    assert tags[names.TAG_HEALTH] == "no sign of broken generation came to stay"
