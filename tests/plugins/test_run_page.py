"""The run page in a real browser: as a report from disk and in MLflow's sandbox, and on data from an API."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pytest
from browser import axe_script, chromium, until
from browsers import Answer, Watched, served, watched
from hostile import PAYLOADS, SCRIPTS

from timelapse import Prediction, Round, Sample, SampleSet
from timelapse.reading.loader import RunRounds
from timelapse.report import documents
from timelapse.report.linking import STATIC
from timelapse.report.report import make_report
from timelapse.report.run_view import RunView
from timelapse.report.state import state
from timelapse.rounds import round_table
from timelapse.scoring.findings import Finding
from timelapse.scoring.validators import Validation
from timelapse.tables import samples_table

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TAGS = {"timelapse.schema": "1", "timelapse.status": "finished"}
INFO = documents.RunInfo(
    "abc", "proud-fox", "1", "verbs", "FINISHED", state(TAGS, "FINISHED"), 0, 60_000, "job-7", "ada", 0.03
)
VERBS = ("go went", "sing sang", "cut cut", "bring brought", "think thought", "swim swam")
BAD = Validation("schema", "json_schema", False, (Finding("$.past", "expected a string"),))


def verbs() -> SampleSet:
    return SampleSet(
        tuple(
            Sample(
                (
                    {"role": "system", "content": "Be short."},
                    {"role": "user", "content": f"Past tense of {verb}?"},
                ),
                past,
                tags=("regular",) if verb == "cut" else (),
                metadata={"level": place % 2, "letters": len(verb)},
            )
            for place, (verb, past) in enumerate(each.split() for each in VERBS)
        )
    )


def verb_rounds() -> list[Round]:
    """Sample 0 is learned, 1 forgotten, 2 always right; 3 fails once, 4 is invalid and truncated."""
    samples = verbs()
    texts = (
        ("goed", "went", "went"),
        ("sang", "sang", "singed, sanged"),
        ("cut", "cut", "cut"),
        ("bringed", None, "brought"),
        ("{}", '{"past": 1}', '{"past": 1}'),
        ("the past of swim", "the past of swim is", "the past of swim is"),
    )
    rounds = []
    for at, step in enumerate((0, 10, 20)):
        rows = []
        for sample, lines in zip(samples, texts, strict=True):
            text = lines[at]
            if text is None:
                rows.append(Prediction(sample.sample_id, None, status="error", error="RuntimeError: boom"))
                continue
            rows.append(
                Prediction(
                    sample.sample_id,
                    text,
                    scores={"exact_match": float(text == sample.reference)},
                    reference_nll=2.0 - at / 2,
                    prediction_tokens=len(text.split()),
                    finish_reason="length" if text.startswith("{") else "stop",
                    validations=(BAD,) if text.startswith('{"') else (),
                )
            )
        trigger = "baseline" if at == 0 else "epoch"
        rounds.append(Round(step, tuple(rows), epoch=float(at), trigger=trigger))
    return rounds


def loaded(rounds: list[Round], *samples: SampleSet) -> RunRounds:
    rendered = {each.sample_id: "<|im_start|>user\nhi<|im_end|>" for each in samples[0]}
    table = pa.concat_tables(map(round_table, rounds), promote_options="permissive")
    manifest = {"right": {"score": "exact_match", "least": 1.0}}
    return RunRounds(table, samples_table(samples, rendered), manifest=manifest)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    probe = replace(verbs(), name="probe")
    rounds = [*verb_rounds(), replace(verb_rounds()[0], set_name="probe")]
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(make_report(INFO, loaded(rounds, verbs(), probe)).html)
    return file.as_uri()


@pytest.fixture
def shown(browser: Browser, report: str) -> Iterator[Watched]:
    seen = watched(browser)
    seen.page.goto(report)
    seen.page.wait_for_selector("text=proud-fox")
    yield seen
    seen.check()
    seen.page.close()


def answers(shown: Any) -> list[str]:
    return [each.inner_text() for each in shown.locator(".answers .window .tr .prediction").all()]


def chip(page: Any, name: str) -> Any:
    return page.locator(".chip", has_text=name)


def test_scrubbing_with_keys_play_and_clicks(shown: Watched) -> None:
    page = shown.page
    assert answers(page)[:2] == ["went", "sangsinged, sanged"]
    page.keyboard.press("Home")
    page.wait_for_selector("text=Predictions at step 0 · base")
    assert answers(page)[:2] == ["goed", "sang"]
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=Predictions at step 10 · epoch 1")
    assert answers(page)[0] == "goedwent"
    assert answers(page)[3] == "Failed: RuntimeError: boom"
    slider = page.get_by_role("slider", name="Round")
    assert slider.get_attribute("aria-valuetext") == "step 10 · epoch 1"
    rail = page.locator(".rail").bounding_box()
    assert rail
    page.mouse.click(rail["x"] + 2, rail["y"] + 15)
    page.wait_for_selector("text=Predictions at step 0")
    page.get_by_label("Play the rounds").click()
    page.wait_for_selector("text=Predictions at step 20", timeout=10_000)
    page.get_by_label("Play the rounds").wait_for()
    plot = page.locator(".curves .u-over").bounding_box()
    assert plot
    page.mouse.click(plot["x"] + plot["width"] / 2, plot["y"] + 30)
    page.wait_for_selector("text=Predictions at step 10")


def test_differences_against_what_is_chosen(shown: Watched) -> None:
    page = shown.page
    row = page.locator(".window .tr", has_text="Past tense of sing?")
    assert [row.locator("del").all_inner_texts(), row.locator("ins").all_inner_texts()] == [
        ["sang"],
        ["singed, sanged"],
    ]
    page.get_by_role("button", name="off", exact=True).click()
    assert row.locator("ins, del").count() == 0
    page.get_by_role("button", name="base", exact=True).click()
    first = page.locator(".window .tr", has_text="Past tense of go?")
    assert first.locator("del").inner_text() == "goed"
    page.get_by_role("group", name="Changes against").get_by_role("button", name="reference").click()
    assert first.locator("ins, del").count() == 0
    style = "getComputedStyle(document.querySelector('{}')).textDecorationLine"
    assert [page.evaluate(style.format(each)) for each in ("ins", "del")] == ["underline", "line-through"]


def test_filters_count_live_and_sorting_goes_both_ways(shown: Watched) -> None:
    page = shown.page
    assert chip(page, "forgotten").inner_text().split() == ["forgotten", "1"]
    chip(page, "wrong").click()
    page.wait_for_selector("text=3 of 6 rows")
    assert chip(page, "invalid").inner_text().split() == ["invalid", "1"]
    chip(page, "invalid").click()
    page.wait_for_selector("text=1 of 6 rows")
    assert (
        page.locator(".badge", has_text="invalid").get_attribute("title")
        == "schema: $.past: expected a string"
    )
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Search prompt").fill("BROUGHT")
    page.wait_for_selector("text=1 of 6 rows")
    page.get_by_role("button", name="Clear").click()
    chip(page, "tag: regular").click()
    page.wait_for_selector("text=1 of 6 rows")
    chip(page, "tag: regular").click()
    page.get_by_role("button", name="Prompt").click()
    prompts = page.locator(".window .tr .prompt")
    assert prompts.first.inner_text() == "Past tense of bring?"
    page.get_by_role("button", name="Prompt").click()
    assert prompts.first.inner_text() == "Past tense of think?"
    header = page.locator("[role=columnheader]", has_text="Prompt")
    assert header.get_attribute("aria-sort") == "descending"


def test_columns_of_samples_are_shown_filtered_and_grouped_by(shown: Watched) -> None:
    page = shown.page
    page.locator(".answers summary", has_text="Columns").click()
    page.locator(".menu .check", has_text="level").click()
    page.wait_for_selector("[role=columnheader]:has-text('level')")
    page.get_by_label("Only rows whose level is").select_option(label="1")
    page.wait_for_selector("text=3 of 6 rows")
    page.get_by_label("Group rows by").select_option("@level")
    assert page.locator(".window .group").inner_text() == "1 · 3 rows"
    assert page.locator(".matrix header small").inner_text() == "3 samples"


def test_values_of_a_column_name_their_groups_as_they_are(browser: Browser, tmp_path: Path) -> None:
    names = ("de", "De", "mean_logprob", None)
    samples = SampleSet(
        tuple(
            Sample(({"role": "user", "content": str(name)},), metadata={"kind": name} if name else {})
            for name in names
        )
    )
    rounds = [Round(0, tuple(Prediction(each.sample_id, "a") for each in samples))]
    (tmp_path / "r.html").write_text(make_report(INFO, loaded(rounds, samples)).html)
    seen = watched(browser)
    seen.page.goto(f"{(tmp_path / 'r.html').as_uri()}#by=@kind&group=@kind")
    seen.page.wait_for_selector(".window .tr.group")
    titles = ["de · 1", "De · 1", "mean_logprob · 1", "None · 1"]
    assert seen.page.locator(".matrix h3").all_inner_texts() == titles
    assert seen.page.locator(".window .tr.group").all_inner_texts() == [f"{each} row" for each in titles]
    seen.check()
    seen.page.close()


def test_no_tag_and_no_column_is_too_rare_to_filter_by(browser: Browser, tmp_path: Path) -> None:
    samples = SampleSet(
        tuple(
            Sample(
                ({"role": "user", "content": str(at)},), tags=(f"t{at % 20:02}",), metadata={"id": f"u{at}"}
            )
            for at in range(220)
        )
    )
    rounds = [Round(0, tuple(Prediction(each.sample_id, "a") for each in samples))]
    (tmp_path / "r.html").write_text(make_report(INFO, loaded(rounds, samples)).html)
    seen = watched(browser)
    page = seen.page
    page.goto(f"{(tmp_path / 'r.html').as_uri()}#tag=t19")
    page.wait_for_selector(".window .tr")
    assert page.locator(".answers header small").inner_text() == "11 of 220 rows"
    chip(page, "tag: t19").click()
    assert chip(page, "tag: t19").count() == 0, "the others are more frequent"
    page.get_by_label("Only rows with another tag").select_option("t17")
    assert page.locator(".answers header small").inner_text() == "11 of 220 rows"
    page.locator("summary", has_text="Columns").click()
    page.get_by_label("Only rows whose id is").fill("u37")
    page.keyboard.press("Enter")
    until(page, "() => document.querySelectorAll('.window .tr').length === 1")
    assert page.locator(".window .tr .index").inner_text() == "37"
    seen.check()
    page.close()


def test_a_report_offers_the_attempts_that_it_holds(browser: Browser, tmp_path: Path) -> None:
    again = replace(verb_rounds()[2], attempt=1)
    (tmp_path / "r.html").write_text(make_report(INFO, loaded([*verb_rounds(), again], verbs())).html)
    seen = watched(browser)
    page = seen.page
    page.goto(f"{(tmp_path / 'r.html').as_uri()}#attempt=1")
    page.wait_for_selector("text=does not hold attempt 1")
    page.get_by_role("button", name="Show what there is").click()
    choice = page.get_by_label("Attempt")
    assert choice.locator("option").all_inner_texts() == ["newest of each step", "0"]
    choice.select_option("0")
    until(page, "() => location.hash === '#attempt=0'")
    page.wait_for_selector("text=Predictions at step 20")
    seen.check()
    page.close()


def test_a_press_beside_a_menu_closes_it(shown: Watched) -> None:
    page = shown.page
    page.locator("summary", has_text="Columns").click()
    page.get_by_role("checkbox", name="letters").click()
    assert page.locator("details.menu[open]").count() == 1
    page.locator("h1").click()
    assert page.locator("details.menu[open]").count() == 0


def test_a_view_is_its_address(browser: Browser, report: str) -> None:
    seen = watched(browser)
    seen.page.goto(f"{report}#step=10&vs=base&filter=wrong&sample=4&sort=-index&tab=raw&by=@level")
    page = seen.page
    page.wait_for_selector("text=Predictions at step 10")
    page.wait_for_selector("text=Sample 4 over training")
    assert page.locator(".raw mark").all_inner_texts() == ["<|im_start|>", "<|im_end|>"]
    assert page.locator(".window .tr .index").all_inner_texts() == ["5", "4"]
    assert page.locator(".matrix h3").all_inner_texts() == ["0 · 3", "1 · 3"]
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(lambda url: "step=0" in url)
    assert "vs=base" in page.url
    page.reload()
    page.wait_for_selector("text=Predictions at step 0")
    seen.check()
    page.close()


def test_the_matrix_goes_where_it_is_clicked_and_walks_by_keys(shown: Watched) -> None:
    page = shown.page
    canvas = page.locator(".matrix canvas").bounding_box()
    assert canvas
    page.mouse.move(canvas["x"] + canvas["width"] * 0.5, canvas["y"] + 24 + 8)
    page.wait_for_selector(".tip")
    assert "Past tense of cut?" in page.locator(".tip").inner_text()
    page.mouse.click(canvas["x"] + canvas["width"] * 0.5, canvas["y"] + 24 + 8)
    page.wait_for_selector("text=Predictions at step 10")
    page.wait_for_selector("text=Sample 2 over training")
    page.get_by_role("application").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("text=Sample 0 over training")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("text=Predictions at step 0")
    assert page.locator("#cell").inner_text() == "Sample 0, step 0 · base, Exact match 0.00: goed"


def test_a_cell_is_told_though_the_table_does_not_show_its_row(browser: Browser, report: str) -> None:
    seen = watched(browser)
    seen.page.goto(f"{report}#filter=forgotten&sample=3&step=10")
    seen.page.wait_for_selector("text=Sample 3 over training")
    until(seen.page, "document.getElementById('cell').innerText.endsWith('RuntimeError: boom')")
    seen.check()
    seen.page.close()


def test_a_timeline_shows_every_round(shown: Watched) -> None:
    page = shown.page
    page.get_by_label("Show sample 4 over training").click()
    page.wait_for_selector(".rounds > li:nth-child(3)[aria-current=step]")
    lines = page.locator(".rounds > li")
    assert lines.count() == 3
    # Not `inner_text`: Chromium lays these lines out when they are first drawn, and it is empty before.
    assert lines.nth(1).locator("ins").first.text_content() == '\n  "past": 1\n'
    assert "expected a string" in (lines.nth(1).text_content() or "")
    assert "same" in (lines.nth(2).text_content() or "")
    lines.nth(0).locator(".when").click()
    page.wait_for_selector("text=Predictions at step 0")
    page.get_by_role("tab", name="Question").click()
    assert [text.split("\n\n") for text in page.locator(".message").all_inner_texts()] == [
        ["system", "Be short."],
        ["user", "Past tense of think?"],
        ["expected", "thought"],
    ]


def test_a_sample_can_be_named_by_its_id(browser: Browser, report: str) -> None:
    """Its number may be another one in another run: the compare page names it so."""
    seen = watched(browser)
    seen.page.goto(f"{report}#step=10&sample=id:{verbs()[3].sample_id}.0")
    seen.page.wait_for_selector("text=Sample 3 over training")
    seen.check()
    seen.page.close()


def test_json_is_laid_out_and_says_what_was_said(browser: Browser, tmp_path: Path) -> None:
    samples = SampleSet((Sample(({"role": "user", "content": "?"},), '{"id": 1}'),))
    texts = (
        '{"id":12345678901234567891,"a":1.0,"a":[{},"x\\",{"]}',
        '{"id": 12345678901234567891}',
        "[" * 5000 + "]" * 5000,
    )
    rounds = [
        Round(at, (Prediction(samples[0].sample_id, text),))
        for at, text in enumerate((*texts[:2], texts[1], texts[2]))
    ]
    (tmp_path / "r.html").write_text(make_report(INFO, loaded(rounds, samples)).html)
    seen = watched(browser)
    seen.page.goto(f"{(tmp_path / 'r.html').as_uri()}#sample=0&vs=off")
    seen.page.wait_for_selector(".rounds .said .text")
    said = seen.page.locator(".rounds .said .text").all_text_contents()
    lines = [
        "{",
        '  "id": 12345678901234567891,',
        '  "a": 1.0,',
        '  "a": [',
        "    {},",
        '    "x\\",{"',
        "  ]",
        "}",
    ]
    assert said[0].splitlines() == lines
    assert said[1].splitlines() == ["{", '  "id": 12345678901234567891', "}"]
    assert len(said[3]) < 1_000_000
    same = seen.page.locator(".rounds > li", has_text="same")
    assert [each.locator(".when").text_content() for each in same.all()] == ["step 2"]
    seen.check()
    seen.page.close()


def test_health_counts_answers_and_changes_name_where_they_began(browser: Browser, tmp_path: Path) -> None:
    samples = verbs()
    texts = [Prediction(each.sample_id, "a", scores={"exact_match": 0.3}) for each in samples]
    bad = [Prediction(each.sample_id, status="error", error="boom") for each in samples[:3]]
    cut = replace(texts[3], finish_reason="length", scores={"exact_match": 0.9})
    rounds = [Round(20, tuple(texts)), Round(30, (*bad, cut, *texts[4:]))]
    (tmp_path / "r.html").write_text(make_report(INFO, loaded(rounds, samples)).html)
    seen = watched(browser)
    seen.page.goto((tmp_path / "r.html").as_uri())
    card = seen.page.locator(".card", has_text="looping")
    assert card.inner_text().splitlines() == [
        "Truncated · empty · looping · failed", "1 · 0 · 0 · 3", "1 truncated, 3 failed",
    ]  # fmt: skip
    assert "▲ 0.20 vs step 20" in seen.page.locator(".card", has_text="Exact match").inner_text()
    seen.check()
    seen.page.close()


def test_an_answer_tells_all_its_scores_and_why_it_ended(browser: Browser, tmp_path: Path) -> None:
    samples = verbs()
    scores = dict.fromkeys(("bleu", "chrf", "contains", "exact_match", "rouge_l"), 0.5)
    row = Prediction(samples[0].sample_id, "went", scores=scores)
    table = round_table(Round(0, (row, Prediction(samples[1].sample_id, "sang", finish_reason="stop"))))
    ends = pa.array(["content_filter", "stop"])
    table = table.set_column(table.column_names.index("finish_reason"), "finish_reason", ends)
    run = RunRounds(table, samples_table([samples], {}))
    (tmp_path / "r.html").write_text(make_report(INFO, run).html)
    seen = watched(browser)
    seen.page.goto(f"{(tmp_path / 'r.html').as_uri()}#sample=0")
    facts = seen.page.locator(".rounds .facts").first
    facts.wait_for()
    assert facts.locator("span").all_text_contents() == [
        "content_filter", "Exact match 0.50", "BLEU 0.50", "chrF 0.50", "Contains 0.50", "ROUGE-L 0.50",
    ]  # fmt: skip
    rows = seen.page.locator(".answers .window .tr .class").all_inner_texts()
    assert ["content_filter" in each for each in rows[:2]] == [True, False]
    seen.check()
    seen.page.close()


def test_sets_are_switched(shown: Watched) -> None:
    page = shown.page
    page.get_by_label("Sample set").select_option("probe")
    page.wait_for_selector("text=1 round")
    assert answers(page)[0] == "goed"


@pytest.mark.parametrize("opened", ["from disk", "in a sandbox"])
def test_hostile_texts_stay_texts(browser: Browser, tmp_path: Path, opened: str) -> None:
    html = hostile_report()
    seen = watched(browser)
    file = tmp_path / "report.html"
    file.write_text(html)
    if opened == "from disk":
        seen.page.goto(file.as_uri())
        walk(seen.page)
        seen.check()
    else:
        frame = (
            b"<!doctype html><iframe sandbox='allow-scripts' width=1300 height=850 src='/report'></iframe>"
        )
        pages = {"/": frame, "/report": html.encode(), "/favicon.ico": b""}
        with served(
            lambda path, _h: (200, {"Content-Type": "text/html; charset=utf-8"}, pages[path])
        ) as origin:
            seen.page.goto(origin)
            inner = seen.page.frames[1]
            inner.wait_for_selector(".window .tr")
            assert inner.evaluate("location.origin + self.origin").endswith("null")
            walk(inner)
            seen.check(origin)
    seen.page.close()


def hostile_report() -> str:
    texts = [*PAYLOADS, *SCRIPTS.values()]
    samples = SampleSet(
        tuple(
            Sample(
                (
                    {"role": text, "content": f"{text} {place}"},
                    {"role": "user", "content": text, "name": text},
                ),
                text,
                tags=(text,),
                metadata={text: text, "field": text},
                tools=({"type": "function", "function": {"name": text, "description": text}},),
            )
            for place, text in enumerate(texts)
        )
    )
    rounds = [
        Round(
            step,
            tuple(
                Prediction(sample.sample_id, None, status="error", error=text)
                if step == 1
                else Prediction(
                    sample.sample_id,
                    text * (1 + step),
                    scores={"exact_match": float(place % 2), text[:40]: 0.5},
                    validations=(Validation(text, "json", False, (Finding(text, text),)),),
                )
                for place, (sample, text) in enumerate(zip(samples, texts, strict=True))
            ),
        )
        for step in range(3)
    ]
    name = "".join(PAYLOADS)
    info = replace(INFO, name=name, experiment=name, job_id=name, claimed_by=name)
    info = replace(info, state=documents.State("failed", f"failed: {name}"))
    made = make_report(info, loaded(rounds, samples))
    assert made.left_out == []
    return made.html


def walk(page: Any) -> None:
    """Bring every text onto the screen: all rows, and of some samples everything there is."""
    page.wait_for_selector(".window .tr")
    count = len(PAYLOADS) + len(SCRIPTS)
    scroller = page.locator(".answers .scroller")
    scroller.evaluate("(box) => box.scrollIntoView()")  # only what is inside the window is drawn
    seen: set[str] = set()
    for top in range(0, count * 260, 600):
        scroller.evaluate("(box, top) => { box.scrollTop = top; }", top)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seen.update(page.locator(".window .tr .index").all_inner_texts())
    assert len(seen) == count
    for menu in page.locator("summary").all():
        menu.click()
    scroller.evaluate("(box) => { box.scrollTop = 0; }")
    for _sample in range(3):
        scroller.focus()
        scroller.press("ArrowDown")
        for tab in page.get_by_role("tab").all():
            tab.click()


def test_texts_of_all_scripts_are_whole(browser: Browser, tmp_path: Path) -> None:
    samples = SampleSet(tuple(Sample(({"role": "user", "content": text},)) for text in SCRIPTS.values()))
    rounds = [Round(0, tuple(Prediction(each.sample_id, each.messages[0]["content"]) for each in samples))]
    (tmp_path / "r.html").write_text(make_report(INFO, loaded(rounds, samples)).html)
    seen = watched(browser)
    for place, (name, text) in enumerate(SCRIPTS.items()):
        seen.page.goto(f"{(tmp_path / 'r.html').as_uri()}?{name}#sample={place}")
        said = seen.page.locator(".rounds .said .text")
        said.wait_for()
        assert said.text_content() == text, name
        assert said.evaluate("(text) => text.scrollWidth <= text.parentElement.clientWidth + 1"), name
    arabic = list(SCRIPTS).index("arabic")
    seen.page.goto(f"{(tmp_path / 'r.html').as_uri()}?again#sample={arabic}")
    said = seen.page.locator(".rounds .said .text")
    assert said.evaluate("(text) => getComputedStyle(text).direction") == "rtl"
    seen.check()
    seen.page.close()


SHELL = b"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Timelapse</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/x/timelapse/static/report/timelapse.css">
<link rel="stylesheet" href="/x/timelapse/static/report/run_page.css">
<link rel="stylesheet" href="/x/timelapse/static/report/vendor/uplot.css"></head>
<body><div id="app"></div>
<script type="module" src="/x/timelapse/static/report/run_page.js"></script></body></html>"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'"
)
KINDS = {".js": "text/javascript", ".css": "text/css"}


class Api:
    """Answers a page's requests as the server's API does, from rounds that grow while the page looks on."""

    def __init__(self) -> None:
        self.rounds = verb_rounds()[:1]
        self.info = replace(INFO, status="RUNNING", state=documents.State("live", "live"))
        self.away = False
        self.asked: list[str] = []

    def __call__(self, path: str, headers: Mapping[str, str]) -> Answer:
        place = urlsplit(path)
        if place.path.startswith("/x/timelapse/static/report/"):
            file = STATIC / place.path.removeprefix("/x/timelapse/static/report/")
            return 200, {"Content-Type": KINDS[file.suffix]}, file.read_bytes()
        if not place.path.startswith("/x/timelapse/api/"):
            return 200, {"Content-Type": "text/html", "Content-Security-Policy": POLICY}, SHELL
        self.asked.append(path)
        if self.away:
            return 503, {"Content-Type": "application/problem+json"}, b'{"detail": "MLflow is away."}'
        body = json.dumps(dataclasses.asdict(self.document(place.path, parse_qs(place.query)))).encode()
        tag = f'"{hash(body)}"'
        if headers.get("If-None-Match") == tag:
            return 304, {"ETag": tag}, b""
        return 200, {"Content-Type": "application/json", "ETag": tag}, body

    def document(self, path: str, query: dict[str, list[str]]) -> Any:
        view = RunView(loaded(self.rounds, verbs()))
        name = unquote(path.partition("/runs/abc/")[2])
        if name == "overview":
            return view.overview(self.info)
        if name == "matrix":
            return view.matrix(query["score"][0])
        if name == "texts":
            return view.texts([int(lane) for lane in query["lane"]])
        if name == "search":
            return view.search(query["text"][0])
        return view.timeline(query["sample"][0])


def test_a_live_run_grows_before_ones_eyes_and_survives_a_lost_connection(browser: Browser) -> None:
    api = Api()
    seen = watched(browser)
    page = seen.page
    with served(api) as origin:
        page.goto(f"{origin}/x/timelapse/runs/abc?theme=dark#sample=0")
        page.wait_for_selector("text=Predictions at step 0 · base")
        page.wait_for_selector(".rounds li")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        api.rounds = verb_rounds()[:2]
        page.wait_for_selector("text=Predictions at step 10 · epoch 1", timeout=10_000)
        page.wait_for_selector(".prediction ins:has-text('went')")
        page.wait_for_selector(".rounds li:nth-child(2)")
        seen.errors.clear()
        api.away = True
        page.wait_for_selector("text=Connection lost.", timeout=10_000)
        assert "MLflow is away." in page.locator(".banner").inner_text()
        assert answers(page)[0] == "goedwent", "what was there stays"
        seen.errors.clear()  # the browser notes the refused requests
        api.away, api.rounds = False, verb_rounds()
        api.info = INFO
        page.wait_for_selector("text=Predictions at step 20", timeout=15_000)
        assert page.locator(".banner").count() == 0
        page.wait_for_selector(".state:has-text('finished')")
        asked = len(api.asked)
        for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
        page.wait_for_timeout(3_500)
        assert len(api.asked) == asked, "neither scrubbing nor a finished run asks for anything"
        page.evaluate("window.postMessage({theme: 'light'}, '*')")
        page.wait_for_selector("html[data-theme=light]")
        links = page.locator("a").evaluate_all("(all) => all.map((a) => a.getAttribute('href'))")
        assert "/x/#/experiments/1/runs/abc" in links
        assert "/x/timelapse/api/v1/runs/abc/export?format=csv" in links
        seen.errors = [error for error in seen.errors if "503" not in error]
        seen.check(origin)
    page.close()


def test_a_page_without_rounds_or_run_says_why(browser: Browser) -> None:
    api = Api()
    api.rounds = [Round(0, ())]
    api.info = replace(INFO, state=documents.State("disabled", "disabled: no samples were given"))
    seen = watched(browser)
    with served(api) as origin:
        seen.page.goto(f"{origin}/x/timelapse/runs/abc")
        seen.page.wait_for_selector("section:has-text('disabled: no samples were given')")
        seen.check(origin)
        api.away = True
        seen.page.reload()
        seen.page.wait_for_selector("[role=alert]:has-text('MLflow is away.')")
    seen.page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_shut_out(browser: Browser, report: str, theme: str) -> None:
    script = "axe.run().then((found) => found.violations.map(({impact, id}) => `${impact} ${id}`))"
    context = browser.new_context(bypass_csp=True, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    for view in (
        "#sample=4&step=10&filter=invalid",
        "#sample=1&tab=question&group=class",
        "#sample=1&tab=raw",
    ):
        page.goto(f"{report}?{view[-3:]}{view}")
        page.wait_for_selector(".window .tr")
        page.wait_for_selector(".timeline .body")
        page.evaluate(axe_script())
        assert page.evaluate(script) == [], view
    context.close()


def test_the_address_is_copied_where_browsers_have_no_clipboard(browser: Browser) -> None:
    """They have none for pages of plain HTTP, which is how most teams reach their MLflow."""
    page = browser.new_page()
    page.add_init_script("""
        Object.defineProperty(Navigator.prototype, 'clipboard', { value: undefined });
        document.execCommand = () => (window.taken = document.activeElement.value) && true;
    """)
    with served(Api()) as origin:
        page.goto(f"{origin}/x/timelapse/runs/abc?theme=dark&workspace=b#vs=base")
        page.get_by_role("button", name="Copy link").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("window.taken") == f"{origin}/x/timelapse/runs/abc?workspace=b#vs=base"
        assert page.evaluate("document.activeElement.innerText") == "Copied"
    page.close()
