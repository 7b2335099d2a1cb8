"""A real Chromium for tests, that tells what a page did besides being shown."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Frame, Page, sync_playwright

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
AXE = "TIMELAPSE_TEST_AXE"
"""Environment variable: the file axe.min.js of the npm package axe-core."""
SECONDS = 20_000

_WATCH = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
});
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium with a fresh profile."""
    program = shutil.which("chromium")
    assert program, "Chromium is not installed: run tests/support/install.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page, and what went wrong in it."""

    page: Page
    base: str
    """The address that all pages lie below."""
    errors: list[str] = field(default_factory=list)
    """What the console says of errors, and exceptions that nobody caught."""
    foreign: list[str] = field(default_factory=list)
    """Requests to other origins."""

    def go(self, path: str) -> Page:
        """Open a page below the base."""
        self.page.goto("about:blank")  # another fragment alone is no other page
        self.page.goto(self.base + path)
        return self.page

    def check(self) -> None:
        """Raise unless nothing went wrong, and no script of a text has run."""
        assert not self.errors
        assert not self.foreign
        assert self.page.evaluate("window.violations ?? []") == []
        assert self.page.evaluate("window.canary") is None


def until(frame: Page | Frame, expression: str) -> None:
    """Wait until an expression of JavaScript is true.

    Playwright's own `wait_for_function` evaluates its text in the page again and again, which the policy of
    our pages forbids: it only works where the expression is true at once.
    """
    deadline = time.monotonic() + SECONDS / 1000
    while not frame.evaluate(expression):
        assert time.monotonic() < deadline, f"it does not become true: {expression}"
        frame.wait_for_timeout(50)


@contextmanager
def watched(
    browser: Browser, base: str, *, width: int = 1280, height: int = 900, **settings: Any
) -> Iterator[Watched]:
    """Open an empty page in a profile of its own; `settings` are those of Playwright's `new_context`."""
    context = browser.new_context(viewport={"width": width, "height": height}, **settings)
    context.add_init_script(_WATCH)
    context.set_default_timeout(SECONDS)
    page = context.new_page()
    found = Watched(page, base)
    origin = urlsplit(base)[:2]
    page.on("console", lambda message: found.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.errors.append(f"{error}\\n{error.stack}"))
    page.on("request", lambda request: _note(request.url, origin, found))
    yield found
    context.close()


def _note(url: str, origin: tuple[str, str], found: Watched) -> None:
    if not url.startswith(("data:", "blob:", "about:")) and urlsplit(url)[:2] != origin:
        found.foreign.append(url)


def axe_script() -> str:
    """Return axe-core as a script: what `TIMELAPSE_TEST_AXE` names, else what install.sh has fetched."""
    named = os.environ.get(AXE)
    found = [Path(named)] if named else sorted(Path(__file__).parents[2].glob(".venv/axe-core-*.min.js"))
    assert found, "axe-core is not there: run tests/support/install.sh"
    return found[-1].read_text()


def accessibility_findings(page: Page, script: str, within: str = "html") -> list[str]:
    """Return what axe-core finds serious or critical on a page, inside of what a selector names."""
    page.evaluate(script)
    found = page.evaluate("within => axe.run(within, {resultTypes: ['violations']})", within)
    return [
        f"{each['id']} ({each['impact']}): {node['target']} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
