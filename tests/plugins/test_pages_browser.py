"""The compare, experiment and config pages in a real browser, over real stored runs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import Watched, accessibility_findings, axe_script, chromium, until, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_site import Site, page_site
from playwright.sync_api import Browser, Page, Route, expect

from timelapse import compare
from timelapse.analysis.comparison import Comparison
from timelapse.config.yamlfile import parse_value

Opener = Callable[..., Watched]
WITHOUT_ADDED = """node => [...node.childNodes].filter(each => each.nodeName !== 'INS')
    .map(each => each.textContent).join('')"""
TRAININGS = ("lora-r16", "lora-r4", "full")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIMELAPSE_CACHE", str(folder / "cache"))
        with page_site(folder, empty_store) as found:
            yield found


@pytest.fixture
def open_page(browser: Browser, site: Site) -> Iterator[Opener]:
    """Opens pages, and checks at the end that none did what it must not, unless it `fails`."""
    checked: list[Watched] = []
    with ExitStack() as stack:

        def opened(path: str, *, fails: bool = False, **settings: Any) -> Watched:
            found = stack.enter_context(watched(browser, site.url, **settings))
            found.go(path)
            if not fails:
                checked.append(found)
            return found

        yield opened
        for found in checked:
            found.check()


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture(scope="module")
def expected(site: Site) -> Comparison:
    """What the library says of the three trainings."""
    return compare([site.trainings[name] for name in TRAININGS], tracking_uri=site.client.tracking_uri)


def chip(page: Page, name: str) -> Any:
    return page.get_by_role("group", name="Filters").get_by_role("button", name=re.compile(rf"^{name} \d"))


def shown_rows(page: Page) -> list[int]:
    """The places of the samples in the table of answers."""
    expect(page.locator("table.aligned")).to_be_visible()
    return [int(text) for text in page.locator("table.aligned tbody th.index").all_inner_texts()]


def scoreboard(page: Page) -> list[list[str]]:
    table = page.locator("table.scoreboard")
    expect(table).to_be_visible()
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]


def number(text: str) -> float:
    found = re.search(r"[−+±-]?\d+(\.\d+)?", text)
    assert found, text
    return float(found[0].replace("−", "-").replace("±", ""))


def test_two_rounds_of_one_run_are_no_two_runs(open_page: Opener, site: Site) -> None:
    run = site.trainings["lora-r16"]
    page = open_page(f"/timelapse/compare?run={run}@first&run={run}@last").page
    expect(page.locator("h1")).to_have_text("2 rounds of lora-r16, 32 shared samples")
    assert len(scoreboard(page)) == 2
    drawn = page.get_by_role("region", name="Over training").locator(".legend li")
    expect(drawn).to_have_count(2)
    expect(drawn.last).to_contain_text("lora-r16")
    assert "@" not in drawn.last.inner_text()
    assert page.get_by_role("combobox", name="Round", exact=True).count() == 0


def test_the_scoreboard_says_what_the_library_says(
    open_page: Opener, site: Site, expected: Comparison
) -> None:
    page = open_page(site.compare(*TRAININGS)).page
    lines = scoreboard(page)
    assert page.locator("h1").inner_text() == "3 runs, 32 shared samples"
    assert [line[0].split()[0] for line in lines] == list(TRAININGS)
    means = {line.run: line.mean for line in expected.scoreboard if line.score == "exact_match"}
    for line in lines:
        run = line[0].split()[0]
        assert number(line[2]) == pytest.approx(means[run], abs=0.0051)
        result = expected.result(run)
        if result is None:
            assert "compared against" in line[0]
            assert line[5:] == ["–"] * 5
            continue
        assert [int(number(cell)) for cell in line[5:8]] == [result.wins, result.losses, result.ties]
        assert number(line[8]) == pytest.approx(result.difference, abs=0.0051)
        assert result.interval is not None
        low, high = re.findall(r"[−+±][\d.]+", line[8])[1:]
        assert (number(low), number(high)) == pytest.approx(result.interval, abs=0.0051)
        assert number(line[9]) == pytest.approx(result.p_value, abs=0.0051)


def test_filters_count_and_show_what_they_name(open_page: Opener, site: Site, expected: Comparison) -> None:
    page = open_page(site.compare(*TRAININGS)).page
    names = {
        "regressions": {pair.index for pair in expected.regressions},
        "improvements": {pair.index for pair in expected.improvements},
    }
    for name, places in names.items():
        assert chip(page, name).inner_text().split() == [name, str(len(places))]
        chip(page, name).click()
        expect(chip(page, name)).to_have_attribute("aria-pressed", "true")
        assert set(shown_rows(page)) == places
        chip(page, name).click()
    assert len(shown_rows(page)) == 32
    chip(page, "disagree").click()
    chip(page, "all wrong").click()
    for line in page.locator("table.aligned tbody tr").all():
        texts = [
            cell.locator(".clamp .text").first.inner_text()
            for cell in line.locator("td.answer").all()
            if cell.locator(".clamp .text").count()
        ]
        assert len(set(texts)) > 1


def test_losses_in_the_scoreboard_lead_to_their_rows(
    open_page: Opener, site: Site, expected: Comparison
) -> None:
    page = open_page(site.compare(*TRAININGS)).page
    row = page.locator("table.scoreboard tbody tr", has_text="lora-r4")
    row.get_by_title("Show the losses").click()
    assert set(shown_rows(page)) == {pair.index for pair in expected.regressions if pair.run == "lora-r4"}
    page.get_by_role("button", name=re.compile("of lora-r4.*: show those of all runs")).click()
    assert set(shown_rows(page)) == {pair.index for pair in expected.regressions}


def test_search_and_order(open_page: Opener, site: Site, expected: Comparison) -> None:
    page = open_page(site.compare(*TRAININGS)).page
    page.get_by_role("searchbox", name="Search prompt or text").fill("FORSOOK")
    expect(page.locator("table.aligned tbody tr")).to_have_count(1)
    assert shown_rows(page) == [3]
    page.get_by_role("searchbox", name="Search prompt or text").fill("")
    expect(page.locator("table.aligned tbody tr")).to_have_count(32)
    page.get_by_role("button", name="Order by the change of lora-r4; now as in the set").click()
    differences = {pair.index: pair for pair in expected.pairs if pair.run == "lora-r4"}
    order = [differences[place].outcome for place in shown_rows(page)]
    assert order == sorted(order, key=["loss", "tie", "win"].index)
    page.get_by_role("button", name="Order by the change of lora-r4; now worst first").click()
    order = [differences[place].outcome for place in shown_rows(page)]
    assert order == sorted(order, key=["win", "tie", "loss"].index)


def test_differences_against_a_run_against_the_reference_and_off(
    open_page: Opener, site: Site, expected: Comparison
) -> None:
    page = open_page(site.compare(*TRAININGS) + "#filter=regressions").page
    first = next(
        pair for pair in expected.pairs if pair.index == shown_rows(page)[0] and pair.outcome == "loss"
    )
    cell = page.locator("table.aligned tbody tr").first.locator("td.answer").nth(TRAININGS.index(first.run))
    kept = cell.locator(".clamp .text").evaluate(WITHOUT_ADDED)
    assert kept == first.before.prediction
    assert cell.locator("del").count() > 0
    segment = page.get_by_role("group", name="Show changes against")
    segment.get_by_role("button", name="vs reference").click()
    kept = cell.locator(".clamp .text").evaluate(WITHOUT_ADDED)
    assert kept == first.reference
    segment.get_by_role("button", name="off").click()
    expect(page.locator("table.aligned ins, table.aligned del")).to_have_count(0)
    assert cell.locator(".clamp .text").inner_text() == first.after.prediction


def test_the_address_holds_the_whole_view(open_page: Opener, site: Site) -> None:
    first = open_page(site.compare(*TRAININGS))
    page = first.page
    page.get_by_label("Round of full").select_option("20")
    expect(page.locator("table.scoreboard tbody tr").last).to_contain_text("0.3")
    page.get_by_role("group", name="Runs compared").get_by_role("button", name="compare against").last.click()
    expect(page.locator("table.scoreboard tr.against")).to_contain_text("full")
    chip(page, "improvements").click()
    page.get_by_role("button", name="vs reference").click()
    page.get_by_role("combobox", name="Round", exact=True).select_option("last")
    page.get_by_label("Curve").select_option("edit_similarity")
    page.get_by_role("group", name="Horizontal axis").get_by_role("button", name="by epoch").click()
    until(page, "() => location.hash.includes('axis=epoch')")
    until(page, "() => document.querySelector('main').ariaBusy === 'false'")
    wanted = page.locator("main").inner_text()
    other = open_page("/timelapse/compare").page
    other.goto("about:blank")
    other.goto(page.url)
    expect(other.locator("table.aligned")).to_be_visible()
    assert other.locator("main").inner_text() == wanted
    assert "full compared against" in " ".join(wanted.split())


def test_runs_are_added_and_taken_out(open_page: Opener, site: Site) -> None:
    page = open_page(site.compare("lora-r16", "full")).page
    expect(page.locator("table.scoreboard tbody tr")).to_have_count(2)
    page.get_by_text("Add a run").click()
    page.get_by_role("searchbox", name="Name or id of a run").fill("r4")
    page.get_by_role("button", name="lora-r4").click()
    expect(page.locator("table.scoreboard tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Take lora-r16 out").click()
    expect(page.locator("table.scoreboard tr.against")).to_contain_text("full")
    page.get_by_role("button", name="Take full out").click()
    expect(page.get_by_role("heading", name="One run alone cannot be compared")).to_be_visible()


def test_exports_hold_the_whole_comparison(
    open_page: Opener, site: Site, expected: Comparison, tmp_path: Path
) -> None:
    page = open_page(site.compare(*TRAININGS)).page
    page.get_by_text("Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    download.value.save_as(tmp_path / "c.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text(), newline="")))
    assert [(row["run"], row["prediction"]) for row in rows] == [
        (pair.run, pair.after.prediction or "") for pair in expected.pairs
    ]


def test_a_run_that_is_not_there_is_said(open_page: Opener, site: Site) -> None:
    page = open_page("/timelapse/compare?run=" + "a" * 32 + "&run=" + "b" * 32, fails=True).page
    expect(page.get_by_role("alert")).to_contain_text("There is no run")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    page = open_page("/timelapse/compare").page
    expect(page.get_by_role("heading", name="Nothing to compare yet")).to_be_visible()


def test_the_keyboard_reaches_and_works_everything(open_page: Opener, site: Site) -> None:
    page = open_page(site.compare(*TRAININGS)).page
    chip(page, "regressions").focus()
    page.keyboard.press("Space")
    expect(chip(page, "regressions")).to_have_attribute("aria-pressed", "true")
    row = page.locator("table.aligned tbody th button").first
    row.focus()
    page.keyboard.press("Enter")
    expect(row).to_have_attribute("aria-expanded", "true")
    expect(page.locator("table.aligned tr.open .more").first).to_contain_text("edit similarity")
    expect(page.locator("table.aligned tr.open a").first).to_have_attribute(
        "href", re.compile(r"/timelapse/runs/\w{32}#set=main&step=\d+&sample=id%3A\w+\.0$")
    )
    page.get_by_text("Export").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="CSV")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="CSV")).to_be_hidden()


def test_runs_of_an_experiment(open_page: Opener, site: Site) -> None:
    page = open_page(f"/timelapse/experiments/{site.experiment}").page
    names = page.locator("table.runs-table tbody th a")
    expect(names).to_have_count(4)
    page.get_by_role("button", name="Score").click()
    assert names.all_inner_texts()[0] == "full"
    expect(page.locator("tr", has_text="still-training").get_by_text("live")).to_be_visible()
    page.get_by_role("checkbox", name="Compare full").check()
    page.get_by_role("checkbox", name="Compare lora-r4").check()
    page.get_by_role("searchbox", name="Search the runs").fill("lora")
    expect(names).to_have_count(2)
    page.get_by_role("link", name="Compare 2 runs").click()
    expect(page.locator("table.scoreboard tbody tr")).to_have_count(2)
    assert [line[0].split()[0] for line in scoreboard(page)] == ["full", "lora-r4"]


def test_what_the_query_names_can_be_taken_back(open_page: Opener, site: Site) -> None:
    """ "Compare with…" names its run in the query: to choose none must outlast a reload."""
    path = f"/timelapse/experiments/1?compare={site.trainings['full']}&sort=name"
    page = open_page(path).page
    expect(page.locator("tr[aria-selected=true]")).to_contain_text("full")
    page.get_by_role("button", name="Choose none").click()
    page.wait_for_url("**#compare=")
    page.reload()
    expect(page.locator("tr[aria-selected=false]").first).to_be_visible()
    assert page.locator("tr[aria-selected=true]").count() == 0
    page.get_by_role("checkbox", name="full").check()
    page.wait_for_url(lambda url: url.endswith(path))


def test_a_pinned_sample_stands_beside_every_run(open_page: Opener, site: Site) -> None:
    page = open_page(f"/timelapse/experiments/{site.experiment}").page
    page.get_by_text("Pin a sample").click()
    page.get_by_role("searchbox", name="Search the samples").fill("forsake")
    page.get_by_role("button", name="forsake").click()
    head = page.locator("th.pinned")
    expect(head).to_contain_text("Past tense and participle of “forsake”")
    expect(head).to_contain_text("reference: forsook, forsaken")
    expect(page.locator("td.pinned", has_text="forsook, forsaken").first).to_contain_text("step")
    until(page, "() => location.hash.includes('pin=')")
    page.reload()
    expect(head).to_contain_text("forsake")


def test_an_experiment_without_runs_says_what_to_do(open_page: Opener, site: Site) -> None:
    page = open_page(f"/timelapse/experiments/{site.empty}").page
    expect(page.get_by_role("heading", name="No run of this experiment has predictions")).to_be_visible()
    page.get_by_role("link", name="config page").click()
    expect(page.get_by_role("heading", name="Configuration")).to_be_visible()


def editor(page: Page) -> Any:
    return page.get_by_role("textbox", name="config.yaml")


def test_a_problem_stands_at_its_field(open_page: Opener, site: Site) -> None:
    page = open_page("/timelapse/config").page
    expect(page.get_by_text("nothing is wrong")).to_be_visible()
    editor(page).fill("model: m\ndata:\n  train: t.jsonl\ntraining:\n  learning_rate: -1\n")
    field = page.locator('[id="field-training.learning_rate"]')
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator('[id="field-training.learning_rate-error"]')).to_have_text(
        "expected a number above 0, got -1"
    )
    expect(page.locator("#problems")).to_contain_text(
        "line 5: training.learning_rate: expected a number above 0"
    )
    expect(page.get_by_text("There is a plan when nothing is wrong.")).to_be_visible()
    page.locator("#problems").get_by_role("link", name="training.learning_rate").click()
    expect(field).to_be_focused()
    field.fill("1e-4")
    field.press("Tab")
    expect(page.get_by_text("nothing is wrong")).to_be_visible()
    assert yaml.safe_load(editor(page).input_value()) == {
        "model": "m", "data": {"train": "t.jsonl"}, "training": {"learning_rate": 1e-4},
    }  # fmt: skip
    editor(page).fill("model: [\n")
    expect(page.locator("#problems")).to_contain_text("is not valid YAML")


def test_form_and_yaml_follow_each_other(open_page: Opener, site: Site) -> None:
    page = open_page("/timelapse/config").page
    field = page.locator('[id="field-model.revision"]')
    expect(field).to_be_visible()
    field.fill("yes")
    field.press("Tab")
    page.locator('[id="field-predictions.sample_frequency"]').select_option('"steps"')
    expect(page.locator('[id="field-predictions.step_interval-error"]')).to_contain_text("is required")
    page.locator('[id="field-predictions.step_interval"]').fill("50")
    page.locator('[id="field-predictions.step_interval"]').press("Tab")
    scorers = page.locator('[id="field-predictions.scorers"]')
    scorers.fill('["exact_match", "chrf"]')
    scorers.press("Tab")
    page.get_by_role("textbox", name="experiment").fill("")
    page.get_by_role("textbox", name="experiment").press("Tab")
    expect(page.get_by_text("nothing is wrong")).to_be_visible()
    written = yaml.safe_load(editor(page).input_value())
    assert written["model"]["revision"] == "yes"
    assert written["predictions"] == {
        "sample_count": 32, "sample_frequency": "steps", "max_new_tokens": 64, "step_interval": 50,
        "scorers": ["exact_match", "chrf"],
    }  # fmt: skip
    assert "tracking" not in written
    until(page, "() => location.hash.includes('chrf')")
    page.reload()
    expect(page.locator('[id="field-predictions.step_interval"]')).to_have_value("50")


def test_an_answer_that_comes_late_takes_no_change_back(open_page: Opener, site: Site) -> None:
    page = open_page("/timelapse/config").page
    expect(page.get_by_text("nothing is wrong")).to_be_visible()
    held: list[Route] = []
    page.route("**/config/check*", lambda route: held.append(route))
    for field, text in (("model.revision", "main"), ("training.learning_rate", "0.001")):
        page.locator(f'[id="field-{field}"]').fill(text)
        page.locator(f'[id="field-{field}"]').press("Tab")
        while not held:  # the first change is being checked while the second is made
            page.wait_for_timeout(50)
    with page.expect_response("**/config/check*"):
        held[0].continue_()
    page.locator('[id="field-training.weight_decay"]').fill("0.1")
    page.locator('[id="field-training.weight_decay"]').press("Tab")
    written = yaml.safe_load(editor(page).input_value())
    assert written["model"]["revision"] == "main"
    assert (written["training"]["learning_rate"], written["training"]["weight_decay"]) == (0.001, 0.1)
    page.unroute_all(behavior="ignoreErrors")


def test_plan_cost_and_commands(browser: Browser, site: Site) -> None:
    with watched(browser, site.url, permissions=["clipboard-read", "clipboard-write"]) as found:
        page = found.go("/timelapse/config")
        editor(page).fill(
            "model: m\ndata: {train: t}\ntraining: {num_train_epochs: 2}\ntracking: {run_name: 'YAML'}\n"
        )
        page.get_by_label("training rows").fill("80")
        page.get_by_label("training tokens/s").fill("1000")
        page.get_by_label("answer tokens/s").fill("40")
        plan = page.get_by_role("region", name="Plan and cost")
        expect(plan).to_contain_text("20 steps")
        expect(plan).to_contain_text("3 rounds")
        # The base model answers 5 samples with 128 tokens each, two later rounds with 50.
        expect(plan).to_contain_text("1,140")
        expect(plan.locator(".card", has_text="Cost of predictions")).to_contain_text("47.1 %")
        assert plan.locator("tbody tr td:first-child").all_inner_texts() == ["0", "10", "20"]
        page.get_by_role("button", name="Copy file and command").click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("cat > config.yaml <<'YAML'\nmodel: m\n")
        assert copied.endswith("\nYAML\ntimelapse train config.yaml")
        with page.expect_download() as download:
            page.get_by_role("button", name="Save config.yaml").click()
        assert download.value.suggested_filename == "config.yaml"
        found.check()


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["yes", "1e-4", "1_000", "12:30", "2020-01-01", "~", ".inf", "a: b", "a #b", "- x", "|", "x\ny\n",
     "x\n\n y", "x \ny", "\u2028", "\x85", "\ufeff", "0x1f", "=", "<<", "null", "NaN", "&a", "*a", "!t",
     "%d", "@", "{", "package:llm", "a:", "x\n\n"]
)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
DATA = st.dictionaries(
    TEXTS,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def writer(browser: Browser, site: Site) -> Any:
    """Writes data as YAML in the browser."""
    with watched(browser, site.url) as found:
        page = found.go("/timelapse/config")
        page.evaluate(
            "url => import(url).then(found => { window.toYaml = found.toYaml })",
            f"{site.url}/timelapse/static/plugin/yaml_writer.js",
        )
        # As text: the driver's own transfer of objects loses a key `__proto__`.
        yield lambda data: page.evaluate("text => JSON.parse(text).map(toYaml)", json.dumps(data))
        found.check()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DATA, min_size=1, max_size=12))
def test_yaml_that_the_page_writes_is_read_as_it_was_meant(writer: Any, data: list[dict[str, Any]]) -> None:
    for each, written in zip(data, writer(data), strict=True):
        assert yaml.safe_load(written) == each, written
        assert parse_value(written, "page") == each, written


ALL_PAGES = {
    "compare": lambda site: site.compare(*TRAININGS) + "#filter=regressions&filter=disagree",
    "experiment": lambda site: f"/timelapse/experiments/{site.experiment}",
    "config": lambda site: "/timelapse/config#config=" + "model:%20m%0Atraining:%20%7Blearning_rate:%20-1%7D",
    "nothing to compare": lambda site: "/timelapse/compare",
    "no runs": lambda site: f"/timelapse/experiments/{site.empty}",
}


def settle(page: Page) -> None:
    until(page, "() => document.querySelector('main')?.ariaBusy === 'false'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ALL_PAGES)
def test_no_serious_finding_of_accessibility(
    open_page: Opener, site: Site, axe: str, name: str, scheme: str
) -> None:
    page = open_page(ALL_PAGES[name](site), color_scheme=scheme).page
    settle(page)
    if name == "compare":
        page.locator("table.aligned tbody th button").first.click()
        page.locator(".slices summary").click()
    assert accessibility_findings(page, axe) == []


@pytest.mark.parametrize("width", [1024, 390])
@pytest.mark.parametrize("name", ALL_PAGES)
def test_nothing_is_wider_than_the_window(open_page: Opener, site: Site, name: str, width: int) -> None:
    page = open_page(ALL_PAGES[name](site), width=width).page
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_is_that_of_the_address_or_of_the_window_around(open_page: Opener, site: Site) -> None:
    page = open_page(site.compare("lora-r16", "full") + "&theme=dark").page
    settle(page)
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(17, 23, 28)"
    page.evaluate("window.postMessage({theme: 'light'}, '*')")
    until(page, f"() => {background} === 'rgb(255, 255, 255)'")


def test_texts_are_shown_and_never_run(open_page: Opener, site: Site) -> None:
    one, other = site.hostile
    page = open_page(f"/timelapse/compare?run={one}&run={other}#round=last", height=3000).page
    shown = page.locator("table.aligned tbody tr")
    expect(shown).to_have_count(50)
    prompts = [text.strip() for text in shown.locator("td:nth-child(2) .clamp").all_inner_texts()]
    assert any("<script>window.canary=1</script>" in text for text in prompts)
    page.locator(".slices summary, .notes summary").first.click()
    shown.locator("th button").first.click()
    for _ in range(2):
        page.get_by_role("button", name="Next").click()
    settle(page)
    assert page.locator("main img, main iframe, main script, main object, main form").count() == 0
    page = open_page(f"/timelapse/experiments/{site.hostile_experiment}").page
    expect(page.locator("table.runs-table tbody th a")).to_have_count(2)
    page.get_by_text("Pin a sample").click()
    page.locator(".picker button").nth(3).click()
    expect(page.locator("th.pinned")).to_contain_text("canary")
    assert page.locator("main img, main iframe, main script, main object, main form").count() == 0
    page = open_page("/timelapse/config").page
    editor(page).fill(
        "'<img src=x onerror=window.canary=1>': 1\ndata: {train: t}\nmodel: '<script>canary=1</script>'\n"
    )
    expect(page.locator("#problems")).to_contain_text("onerror")
    assert page.locator("main img, main script").count() == 0


def test_a_workspace_goes_along_with_every_address(open_page: Opener, site: Site) -> None:
    script = """async ([addresses, search]) => {
      const { inWorkspace } = await import(new URL('static/report/workspace.js', location.href));
      return addresses.map((address) => inWorkspace(address, search));
    }"""
    page = open_page("/timelapse/config").page
    addresses = ["/timelapse/runs/1#step=3", "/timelapse/compare?run=1", "/#/experiments/1/runs", "/#/?a=b"]
    assert page.evaluate(script, [addresses, "?workspace=a%26b"]) == [
        "/timelapse/runs/1?workspace=a%26b#step=3",
        "/timelapse/compare?run=1&workspace=a%26b",
        "/#/experiments/1/runs?workspace=a%26b",
        "/#/?a=b&workspace=a%26b",
    ]
    assert page.evaluate(script, [addresses, ""]) == addresses
    page = open_page("/timelapse/config?workspace=b").page
    link = page.get_by_role("link", name="MLflow", exact=True)
    expect(link).to_have_attribute("href", re.compile(r"/#/\?workspace=b$"))
