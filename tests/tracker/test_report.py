"""Reports as files: what is in them, how large they become, and how they come to be."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from hostile import PAYLOADS
from stored_runs import make_round, make_samples

from timelapse import Prediction, Round, Sample, SampleSet, names, start_run
from timelapse.cli.main import main
from timelapse.errors import RunError
from timelapse.reading.loader import RunRounds
from timelapse.report import documents
from timelapse.report.linking import STATIC, linked_modules
from timelapse.report.report import make_report
from timelapse.report.run_view import RunView
from timelapse.report.state import state
from timelapse.rounds import round_table
from timelapse.tables import samples_table

if TYPE_CHECKING:
    import mlflow

INFO = documents.RunInfo("r", "run", "1", "verbs", "FINISHED", state({}, "FINISHED"), 0, 1, None, None, None)


def stored(samples: list[SampleSet], rounds: list[Round]) -> RunRounds:
    tables = pa.concat_tables(map(round_table, rounds), promote_options="permissive")
    return RunRounds(tables, samples_table(samples, {}))


def data_of(html: str) -> dict[str, Any]:
    island = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert island
    return json.loads(island[1])


def test_a_report_holds_what_a_page_would_ask_for() -> None:
    main, probe = make_samples(3), make_samples(2, "probe")
    rounds = [
        make_round(main, 0, 0.3),
        make_round(main, 5),
        make_round(main, 5, attempt=1),
        make_round(probe, 5),
    ]
    loaded = stored([main, probe], rounds)
    report = make_report(INFO, loaded)
    data = data_of(report.html)
    assert report.left_out == data["notes"] == []
    assert list(data["views"]) == ["main/", "probe/", "main/0"]
    view = data["views"]["main/"]
    assert view["overview"]["attempts"] == [0, 1]
    assert view["matrices"]["exact_match"]["values"] == RunView(loaded).matrix("exact_match").values
    last = view["timelines"][main[2].sample_id]["rounds"][-1]["answers"][0]
    assert last["prediction"] == "step 5 attempt 1 sample 2"
    assert "error" not in last, "what an answer does not have is left out"
    first = data["views"]["main/0"]["timelines"][main[2].sample_id]
    assert first["rounds"][-1]["answers"][0]["prediction"] == "step 5 attempt 0 sample 2"
    assert list(data_of(make_report(INFO, loaded, ["probe"]).html)["views"]) == ["probe/"]
    with pytest.raises(RunError, match="no sample set 'x'"):
        make_report(INFO, loaded, ["x"])


def test_100_samples_in_20_rounds_take_at_most_3_mb() -> None:
    words = random.Random(1)
    samples = SampleSet(
        tuple(
            Sample(({"role": "user", "content": f"{n} {'why ' * 20}"},), "because " * 10) for n in range(100)
        )
    )
    rounds = [
        Round(
            step,
            tuple(
                Prediction(
                    sample.sample_id,
                    " ".join(f"{words.random():.6f}" for _ in range(40)),
                    scores={"exact_match": 0.0, "edit_similarity": words.random()},
                    reference_nll=words.random(),
                    seconds=words.random(),
                )
                for sample in samples
            ),
        )
        for step in range(20)
    ]
    report = make_report(INFO, stored([samples], rounds))
    assert report.left_out == []
    assert 1_000_000 < len(report.html.encode()) <= 3_000_000


def test_what_does_not_fit_is_left_out_and_named() -> None:
    main, probe = make_samples(50), make_samples(50, "probe")
    rounds = [
        Round(0, tuple(Prediction(each.sample_id, "<" * 10_000) for each in samples), set_name=samples.name)
        for samples in (main, probe)
    ]
    report = make_report(INFO, stored([main, probe], rounds), max_bytes=1_000_000)
    assert len(report.html.encode()) <= 1_000_000
    held = len(data_of(report.html)["views"]["main/"]["timelines"])
    assert 5 < held < 50
    assert report.left_out[0] == (
        f"the texts of {50 - held} of the 50 samples of set 'main' are left out, namely {held} to 49"
    )
    assert "probe" in report.left_out[1]
    assert data_of(report.html)["notes"][0].startswith("This report is held under 1 MB: the texts of ")
    assert len(data_of(report.html)["views"]["main/"]["overview"]["samples"]) == 50


def test_no_text_ends_the_element_that_holds_it() -> None:
    name = "</title></script><script>"
    texts = dict.fromkeys(PAYLOADS)
    samples = SampleSet(tuple(Sample(({"role": "user", "content": text},)) for text in texts))
    rounds = [Round(0, tuple(Prediction(each.sample_id, each.messages[0]["content"]) for each in samples))]
    html = make_report(documents.RunInfo("r", name, *[None] * 9), stored([samples], rounds)).html  # type: ignore[arg-type]
    assert html.count("<script") == 3 + html.count("x<script")
    assert html.count("</script>") == 3
    assert "<title>&lt;/title&gt;" in html


def test_modules_stand_behind_those_they_need(tmp_path: Path) -> None:
    linked = linked_modules("report_page.js")
    places = {name: place for place, (name, _text) in enumerate(linked)}
    assert linked[-1][0] == "report_page.js"
    for name, text in linked:
        assert all(places[other] < places[name] for other in re.findall(r"from 'module:([^']+)'", text)), name
        assert "from './" not in text
        assert "from '../" not in text
    (tmp_path / "a.js").write_text("import { b } from './b.js';")
    (tmp_path / "b.js").write_text("import { a } from './a.js';")
    with pytest.raises(ValueError, match=r"in a circle: a\.js -> b\.js -> a\.js"):
        linked_modules("a.js", tmp_path)


def test_the_modules_are_small_and_never_make_markup_of_texts() -> None:
    for file in STATIC.glob("*.js"):
        text = file.read_text()
        assert len(text.splitlines()) <= 200, file
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), file


def test_a_run_leaves_its_report_behind(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    samples = make_samples(2)

    def run() -> str:
        with start_run("first") as run:
            run.log_samples(samples)
            run.log_round(make_round(samples, 0))
        assert run.run_id
        return run.run_id

    path = tracking.download_artifacts(run(), f"{names.ARTIFACT_FOLDER}/{names.REPORT_FILE}", str(tmp_path))
    overview = data_of(Path(path).read_text())["views"]["main/"]["overview"]
    assert overview["run"]["name"] == "first"
    assert overview["run"]["experiment"] == "Default"
    assert overview["run"]["state"]["kind"] == "finished"
    assert overview["right"] == {"score": "exact_match", "least": 1.0}

    monkeypatch.setattr("timelapse.writing.report.MOST_ANSWERS", 1)
    too_large = run()
    monkeypatch.setenv("TIMELAPSE_REPORT", "off")
    for run_id in (too_large, run()):
        files = [item.path for item in tracking.list_artifacts(run_id, names.ARTIFACT_FOLDER)]
        assert "timelapse/rounds.parquet" in files
        assert "timelapse/report.html" not in files


def test_a_report_that_fails_harms_nothing(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timelapse.report.linking.STATIC", Path("nowhere"))
    samples = make_samples(2)
    with pytest.warns(match="Writing the report failed: FileNotFoundError"), start_run() as run:
        run.log_samples(samples)
        run.log_round(make_round(samples, 0))
    stored = tracking.get_run(str(run.run_id))
    assert stored.info.status == "FINISHED"
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    assert stored.data.tags[names.TAG_MANIFEST] != "live"


def test_the_command_writes_a_file(tracking: mlflow.MlflowClient) -> None:
    samples = make_samples(40)
    with start_run("first") as run:
        run.log_samples(samples)
        run.log_round(Round(0, tuple(Prediction(each.sample_id, "x" * 20_000) for each in samples)))

    def report(*words: str) -> Any:
        return CliRunner().invoke(main, ["report", "last", *words])

    done = report("-o", "a.html")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"a\.html: 1\.\d MB\n", done.output)
    assert len(data_of(Path("a.html").read_text())["views"]["main/"]["timelines"]) == 40
    refused = report("-o", "a.html")
    assert refused.exit_code == 2
    assert "a.html exists. Name another file, or replace it with --force." in refused.output
    small = report("-o", "a.html", "--force", "--max-mb", "0.5")
    assert small.exit_code == 0
    assert "Warning: The texts of " in small.output
    assert "--max-mb makes room for more" in small.output
    shown = report("-o", "-")
    assert (shown.exit_code, shown.stdout_bytes.startswith(b"<!")) == (0, True)
    assert not Path("-").exists()
    endless = report("-o", "b.html", "--max-mb", "nan")
    assert (endless.exit_code, "nan is no finite number" in endless.output) == (2, True)
    wrong = report("-o", "b.html", "--set", "other")
    assert wrong.exit_code == 2
    assert "There is no sample set 'other'. There are: main." in wrong.output
    assert not Path("b.html").exists()
