"""What people see of a real training: in MLflow's own pages, on ours, live, and in its report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from browser import Watched, accessibility_findings, axe_script, chromium, watched
from playwright.sync_api import Browser, expect
from projects import VERBS
from servers import MlflowServer
from tiny import make_llama
from trainers import make_trainer

from timelapse import Prediction, Round, Sample, SampleSet, compare, load_predictions, names, start_run
from timelapse_training import PredictionsCallback

pytestmark = pytest.mark.usefixtures("workplace")

PATIENCE = 60_000
Opener = Callable[..., Watched]


@dataclass(frozen=True)
class Place:
    """A server with the pages, and two real trainings in it."""

    server: MlflowServer
    experiment_id: str
    runs: tuple[str, str]

    def mlflow_page(self, route: str) -> str:
        return f"/#/experiments/{self.experiment_id}/runs/{self.runs[0]}{route}"

    def predictions(self, run: int = 0) -> pd.DataFrame:
        return load_predictions(self.runs[run], tracking_uri=self.server.uri)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("ui")
    shutil.copy(empty_store, folder / "server.db")
    options = ("--app-name", "timelapse", "--artifacts-destination", str(folder / "artifacts"))
    with MlflowServer(folder, *options) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TIMELAPSE_SPOOL", str(folder / "spool"))
        experiment = mlflow.MlflowClient(tracking_uri=server.uri).create_experiment("verbs")
        first, second = (train(folder / name, server.uri, name) for name in ("first", "second"))
        yield Place(server, experiment, (first, second))


def train(folder: Path, uri: str, name: str) -> str:
    """Train a tiny model for two epochs of two steps, and return its run."""
    with start_run(name, experiment="verbs", tracking_uri=uri) as run:
        rows = [{"question": verb, "answer": past} for verb, past in VERBS.items()]
        callback = PredictionsCallback(rows, max_new_tokens=6)
        model = make_llama(initializer_range=0.1 if name == "first" else 0.2)
        make_trainer(folder, callback, model=model, rows=8, save_strategy="no").train()
    assert run.run_id is not None
    return run.run_id


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def open_page(browser: Browser, place: Place) -> Iterator[Opener]:
    """Opens pages, and checks at the end that nothing went wrong in any."""
    opened: list[Watched] = []
    with ExitStack() as stack:

        def opener(path: str, **settings: Any) -> Watched:
            found = stack.enter_context(watched(browser, place.server.uri, **settings))
            found.page.set_default_timeout(PATIENCE)
            found.go(path)
            opened.append(found)
            return found

        expect.set_options(timeout=PATIENCE)
        yield opener
        for each in opened:
            if "#/" in each.page.url:  # MLflow's own pages complain for reasons of their own
                each.errors.clear()
            each.check()


def test_the_tab_in_mlflows_run_page_shows_what_was_stored(open_page: Opener, place: Place) -> None:
    page = open_page(place.mlflow_page("")).page
    page.set_viewport_size({"width": 1280, "height": 1800})  # only rows inside the window are drawn
    page.get_by_role("tab", name="Predictions").click()
    frame = page.frame_locator("#timelapse-panel iframe")
    frame.get_by_text("Predictions at step 4").wait_for()
    stored = place.predictions()
    for key, step in (("Home", 0), ("ArrowRight", 2), ("End", 4)):
        frame.get_by_role("slider", name="Round").press(key)
        frame.get_by_text(f"Predictions at step {step}").wait_for()
        frame.get_by_role("button", name="off", exact=True).click()
        shown = frame.locator(".answers .window .tr .prediction").all_inner_texts()
        texts = stored[stored["step"] == step]["prediction"]
        assert [words(text) for text in shown] == [words(text) or ["empty"] for text in texts]


def words(text: str) -> list[str]:
    return text.split()


def test_numbers_on_the_page_are_those_of_the_library(open_page: Opener, place: Place) -> None:
    page = open_page(f"/timelapse/runs/{place.runs[0]}#step=2").page
    page.get_by_text("Predictions at step 2").wait_for()
    stored = place.predictions()
    right = stored[stored["step"] == 2]["exact_match"]
    wrong = int((right < 1).sum())
    assert page.locator(".chip", has_text="wrong").inner_text().split() == ["wrong", str(wrong)]
    curve = page.locator(".curves li", has_text="Exact match").inner_text()
    assert f"{right.mean():.2f}" in curve
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: "step=2" not in url)


def test_two_trainings_are_compared_as_the_library_does(open_page: Opener, place: Place) -> None:
    page = open_page(f"/timelapse/compare?run={place.runs[0]}&run={place.runs[1]}&round=last").page
    page.get_by_text("Scoreboard").wait_for()
    expected = compare(place.runs, round="last", tracking_uri=place.server.uri)
    result = expected.result(expected.rounds[1].label)
    assert result is not None
    cells = page.get_by_role("table").first.get_by_role("row").nth(2).get_by_role("cell").all_inner_texts()
    assert [str(result.wins), str(result.losses), str(result.ties)] == [
        text.strip() for text in cells if text.strip().isdigit()
    ]


def test_a_compared_answer_leads_to_its_whole_history(open_page: Opener, place: Place) -> None:
    page = open_page(f"/timelapse/compare?run={place.runs[0]}&run={place.runs[1]}&round=2").page
    page.get_by_role("button", name="Sample 3: show whole").click()
    page.get_by_role("link", name="all rounds").last.click()
    page.get_by_text("Predictions at step 2").wait_for()
    page.get_by_text("Sample 3 over training").wait_for()
    assert place.runs[1] in page.url


def test_the_experiment_lists_both(open_page: Opener, place: Place) -> None:
    page = open_page(f"/timelapse/experiments/{place.experiment_id}").page
    for name in ("first", "second"):
        page.get_by_role("link", name=name, exact=True).wait_for()


def test_a_training_is_watched_while_it_runs(open_page: Opener, place: Place) -> None:
    samples = SampleSet((Sample(({"role": "user", "content": "go"},), "went"),))
    with start_run("live", experiment="verbs", tracking_uri=place.server.uri) as run:
        run.log_samples(samples)

        def log(step: int, text: str) -> None:
            run.log_round(Round(step, (Prediction(samples[0].sample_id, text),)))

        log(0, "goed")
        run.flush()
        page = open_page(f"/timelapse/runs/{run.run_id}").page
        page.get_by_text("Predictions at step 0").wait_for()
        page.evaluate("window.same = true")
        log(10, "went")
        page.get_by_text("Predictions at step 10").wait_for()
        assert page.locator(".window .prediction ins").inner_text() == "went"
    page.locator(".state", has_text="finished").wait_for()
    assert page.evaluate("window.same"), "without a reload"


def test_the_report_opens_among_mlflows_artifacts(open_page: Opener, place: Place) -> None:
    seen = open_page(place.mlflow_page(f"/artifacts/{names.ARTIFACT_FOLDER}/{names.REPORT_FILE}"))
    frame = seen.page.frame_locator("iframe").last
    frame.get_by_text("Predictions at step 4").wait_for()
    frame.get_by_role("slider", name="Round").press("Home")
    frame.get_by_text("Predictions at step 0").wait_for()
    first = place.predictions().iloc[0]["prediction"]
    assert words(frame.locator(".window .tr .prediction").first.inner_text()) == words(first)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_run_page_is_accessible(open_page: Opener, place: Place, scheme: str) -> None:
    page = open_page(f"/timelapse/runs/{place.runs[0]}#sample=0", color_scheme=scheme).page
    page.get_by_text("Sample 0 over training").wait_for()
    page.wait_for_timeout(500)
    assert accessibility_findings(page, axe_script()) == []
