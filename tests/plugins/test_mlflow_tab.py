"""Our additions to MLflow's own pages, in a real browser: a smoke test for each version of MLflow."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest
from browser import accessibility_findings, axe_script, chromium, until
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from servers import MlflowServer

from timelapse import names

PATIENCE = 60_000
DARK = "localStorage.setItem('_mlflow_dark_mode_toggle_enabled', '{}')"
SUMMARY = re.compile(r"/timelapse/api/v1/runs/[^/?]+(\?.*)?$")


@dataclass(frozen=True)
class Place:
    server: MlflowServer
    experiment_id: str
    runs: tuple[str, str]

    def address(self, route: str) -> str:
        return f"{self.server.uri}/#/experiments/{self.experiment_id}{route}"

    @property
    def run_page(self) -> str:
        return self.address(f"/runs/{self.runs[0]}")

    @property
    def compare_page(self) -> str:
        runs, experiments = quote(json.dumps(self.runs)), quote(json.dumps([self.experiment_id]))
        return f"{self.server.uri}/#/compare-runs?runs={runs}&experiments={experiments}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("tab")
    shutil.copy(empty_store, folder / "server.db")
    options = ("--app-name", "timelapse", "--artifacts-destination", str(folder / "artifacts"))
    with MlflowServer(folder, *options) as server:
        client = mlflow.MlflowClient(tracking_uri=server.uri)
        experiment = client.create_experiment("verbs")
        runs = [
            client.create_run(experiment, tags={names.TAG_SCHEMA: "1"}, run_name=name).info.run_id
            for name in ("first", "second")
        ]
        for run_id in runs:
            client.set_terminated(run_id)
        yield Place(server, experiment, (runs[0], runs[1]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def profile(browser: Browser) -> Iterator[BrowserContext]:
    """One for all tests, because MLflow's scripts come from its cache then; it remembers nothing else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    yield context
    context.close()


@pytest.fixture
def page(profile: BrowserContext) -> Iterator[Page]:
    page = profile.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.evaluate("localStorage.clear()")
    page.close()
    assert errors == []


def panel_address(page: Page) -> str:
    frame = page.frame_locator("#timelapse-panel iframe")
    expect(frame.locator("#app")).to_be_attached()
    return page.frames[1].url


def test_the_tab_opens_our_page_below_mlflows_tabs(page: Page, place: Place) -> None:
    page.goto(place.run_page)
    tab = page.get_by_role("tab", name="Predictions")
    expect(tab).to_have_attribute("aria-selected", "false")
    tab.click()
    panel = page.locator("#timelapse-panel")
    expect(panel).to_be_visible()
    expect(tab).to_have_attribute("aria-selected", "true")
    expect(panel).to_have_attribute("role", "tabpanel")
    assert panel_address(page) == f"{place.server.uri}/timelapse/runs/{place.runs[0]}?theme=light"
    box, tabs, main = panel.bounding_box(), tab.bounding_box(), page.locator("main").bounding_box()
    assert box
    assert tabs
    assert main
    assert box["y"] >= tabs["y"] + tabs["height"] - 1, "MLflow's tabs stay in sight"
    assert box["x"] == pytest.approx(main["x"])
    assert box["width"] == pytest.approx(main["width"])
    assert box["height"] > 400


def test_back_forward_and_other_tabs_close_and_open_it(page: Page, place: Place) -> None:
    page.goto(place.run_page)
    tab, panel = page.get_by_role("tab", name="Predictions"), page.locator("#timelapse-panel")
    tab.click()
    expect(panel).to_be_visible()
    page.go_back()
    expect(panel).to_be_hidden()
    expect(tab).to_have_attribute("aria-selected", "false")
    page.go_forward()
    expect(panel).to_be_visible()
    page.get_by_role("tab", name="Overview").click()
    expect(panel).to_be_hidden()
    expect(page.get_by_text("About this run")).to_be_visible()
    tab.click()
    page.get_by_role("tab", name="Artifacts").click()
    expect(panel).to_be_hidden()
    assert page.url.endswith("/artifacts")
    expect(tab).to_be_visible()
    expect(page.locator("#timelapse-tab")).to_have_count(1)


def test_an_address_with_the_open_tab_can_be_pasted(page: Page, place: Place) -> None:
    page.goto(f"{place.run_page}?predictions=1")
    expect(page.locator("#timelapse-panel")).to_be_visible()
    page.goto(place.address(f"/runs/{place.runs[1]}?predictions=1"))
    expect(page.get_by_role("heading", name="second")).to_be_visible()
    until(
        page,
        f"document.querySelector('#timelapse-panel iframe').contentWindow.location.href"
        f".includes('{place.runs[1]}')",
    )


def test_what_the_tab_shows_stands_in_mlflows_address(page: Page, place: Place) -> None:
    page.goto(f"{place.run_page}?predictions=step%3D40%26vs%3Dbase")
    assert panel_address(page).endswith("#step=40&vs=base")
    page.frames[1].evaluate("location.hash = 'vs=off&q=a%26b'")
    page.wait_for_url("**predictions=vs%3Doff%26q%3Da%2526b")
    page.reload()
    assert panel_address(page).endswith("#vs=off&q=a%26b")
    page.evaluate("location.hash = location.hash.replace(/predictions=.*/, 'predictions=1')")
    until(page, "() => !document.querySelector('#timelapse-panel iframe').contentWindow.location.hash")
    page.frames[1].evaluate("location.hash = 'vs=base'")
    page.wait_for_url("**predictions=vs%3Dbase")
    page.get_by_role("tab", name="Overview").click()
    expect(page.locator("#timelapse-panel")).to_be_hidden()
    assert "predictions" not in page.url
    page.get_by_role("tab", name="Predictions").click()
    page.wait_for_url("**predictions=vs%3Dbase")
    assert panel_address(page).endswith("#vs=base"), "what it showed it still shows"


def test_the_keyboard_reaches_the_tab_and_the_panel(page: Page, place: Place) -> None:
    page.goto(place.run_page)
    tab = page.get_by_role("tab", name="Predictions")
    tab.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#timelapse-panel")).to_be_visible()
    panel_address(page)
    page.keyboard.press("Tab")
    expect(page.locator("#timelapse-panel iframe")).to_be_focused()


def test_it_follows_mlflows_theme(page: Page, place: Place) -> None:
    page.add_init_script(DARK.format("true"))
    page.goto(f"{place.run_page}?predictions=1")
    expect(page.locator("body.dark-mode #timelapse-panel")).to_be_visible()
    assert panel_address(page).endswith("?theme=dark")
    page.frames[1].evaluate("addEventListener('message', event => { window.told = event.data.theme })")
    page.evaluate("document.body.classList.remove('dark-mode')")
    until(page.frames[1], "window.told === 'light'")


def test_our_own_pages_follow_the_theme_that_was_chosen_in_mlflow(page: Page, place: Place) -> None:
    page.add_init_script(DARK.format("true"))
    page.goto(f"{place.server.uri}/timelapse/experiments/{place.experiment_id}")
    expect(page.locator("html[data-theme=dark] h1")).to_be_visible()
    other = page.context.new_page()
    other.goto(f"{place.server.uri}/timelapse/config")
    other.evaluate("localStorage.setItem('_mlflow_dark_mode_toggle_enabled', 'false')")
    expect(page.locator("html[data-theme=light] h1")).to_be_visible()
    other.close()


@pytest.mark.parametrize("dark", [False, True])
def test_our_additions_shut_nobody_out(page: Page, place: Place, dark: bool) -> None:
    page.add_init_script(DARK.format(str(dark).lower()))
    page.goto(f"{place.run_page}?predictions=1")
    panel = page.frame_locator("#timelapse-panel iframe")
    expect(panel.get_by_role("heading").first).to_be_visible()
    expect(page.locator("body.dark-mode")).to_have_count(int(dark))
    for node in ("#timelapse-tab", "#timelapse-panel", "#timelapse-entry"):
        expect(page.locator(node)).to_be_visible()
        assert accessibility_findings(page, axe_script(), within=node) == []
    page.goto(place.compare_page)
    expect(page.locator("#timelapse-compare")).to_be_visible()
    assert accessibility_findings(page, axe_script(), within="#timelapse-compare") == []


@pytest.mark.parametrize("link", ["verbs", "Open in MLflow"])
def test_links_to_mlflow_leave_the_panel(page: Page, place: Place, link: str) -> None:
    page.goto(f"{place.run_page}?predictions=1")
    page.frame_locator("#timelapse-panel iframe").get_by_role("link", name=link).click()
    expect(page.locator("#timelapse-panel")).to_be_hidden()
    assert "predictions" not in page.url
    assert page.url.startswith(place.address(""))


def test_the_compare_page_has_a_button(page: Page, place: Place) -> None:
    page.goto(place.compare_page)
    link = page.get_by_role("link", name="Compare predictions")
    expect(link).to_have_attribute(
        "href", f"{place.server.uri}/timelapse/compare?run={place.runs[0]}&run={place.runs[1]}"
    )
    expect(link).to_be_visible()


def test_the_sidebar_has_an_entry(page: Page, place: Place) -> None:
    page.goto(place.address("/runs"))
    entry = page.locator("aside nav").get_by_role("link", name="Predictions")
    expect(entry).to_have_attribute("href", f"{place.server.uri}/timelapse/experiments/{place.experiment_id}")
    neighbour = page.locator("aside nav").get_by_role("link", name="Prompts")
    colours = [link.evaluate("node => getComputedStyle(node).color") for link in (entry, neighbour)]
    assert colours[0] == colours[1]
    page.goto(place.server.uri)
    expect(entry).to_have_count(0)


def test_a_workspace_goes_along(page: Page, place: Place) -> None:
    page.goto(f"{place.run_page}?workspace=team&predictions=1")
    entry = page.locator("#timelapse-entry a")
    expect(entry).to_have_attribute(
        "href", f"{place.server.uri}/timelapse/experiments/{place.experiment_id}?workspace=team"
    )


@pytest.mark.parametrize(("kind", "shown"), [("not_started", False), ("finished", True)])
def test_runs_without_predictions_have_no_tab(page: Page, place: Place, kind: str, shown: bool) -> None:
    told = {"run": {"status": "FINISHED", "state": {"kind": kind, "text": ""}}, "rounds": None}
    page.route(SUMMARY, lambda route: route.fulfill(json=told))
    with page.expect_response(SUMMARY):
        page.goto(place.run_page)
    expect(page.get_by_role("tab", name="Artifacts")).to_be_visible()
    expect(page.get_by_role("tab", name="Predictions")).to_have_count(int(shown))


def altered(page: Page, before: str, after: str) -> None:
    """Serve MLflow's index page with something replaced."""

    def answer(route: Route) -> None:
        found = route.fetch()
        text = found.text().replace(before, after)
        assert text != found.text()
        route.fulfill(status=200, content_type="text/html", body=text)

    page.route(re.compile(r"/$"), answer)


def test_where_frames_are_forbidden_the_tab_is_a_link(page: Page, place: Place) -> None:
    altered(page, 'id="timelapse-script"', 'id="timelapse-script" data-frames="no"')
    page.goto(place.run_page)
    tab = page.get_by_role("tab", name="Predictions")
    expect(tab).to_have_attribute("href", f"{place.server.uri}/timelapse/runs/{place.runs[0]}")
    tab.click()
    page.wait_for_url("**/timelapse/runs/*")


def test_without_the_known_places_there_is_a_link_in_the_corner(page: Page, place: Place) -> None:
    page.route(
        "**/mlflow_additions.js",
        lambda route: route.fulfill(
            content_type="text/javascript",
            body=route.fetch()
            .text()
            .replace("mlflow.run-page.view-mode-switch", "elsewhere")
            .replace("PATIENCE_MS = 8000", "PATIENCE_MS = 100"),
        ),
    )
    page.goto(place.run_page)
    link = page.locator("#timelapse-corner")
    expect(link).to_have_text("Predictions")
    expect(link).to_have_attribute("href", f"{place.server.uri}/timelapse/runs/{place.runs[0]}")
    page.goto(place.server.uri)
    expect(link).to_have_count(0)
