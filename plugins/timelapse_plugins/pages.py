"""The pages' shells: what a browser gets before a page's modules ask for its data."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse, PlainTextResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

    from timelapse_plugins.inner import Answer
    from timelapse_plugins.static_files import StaticFiles


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its address below `/timelapse/` and what it is made of."""

    path: str
    """As a Starlette route."""
    title: str
    """What the browser's tab says until the page knows better."""
    script: str
    """Name of its first module among the static files."""
    styles: tuple[str, ...]
    """Names of its style sheets."""


_STYLES = ("report/timelapse.css", "report/vendor/uplot.css")
_OURS = (*_STYLES, "plugin/pages.css")

PAGES = (
    Page("/runs/{run_id}", "Predictions", "report/run_page.js", (*_STYLES, "report/run_page.css")),
    Page("/compare", "Compare predictions", "plugin/compare-page.js", _OURS),
    Page("/experiments/{experiment_id}", "Runs with predictions", "plugin/experiment-page.js", _OURS),
    Page("/config", "Configuration", "plugin/config-page.js", _OURS),
)
"""The four pages."""

_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Timelapse</title>
{styles}
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript.</noscript>
<script type="module" src="{script}"></script>
</body>
</html>
"""

_PASSED_ON = ("content-type", "www-authenticate", "location", "set-cookie", "retry-after")


def shell(page: Page, files: StaticFiles) -> HTMLResponse:
    """Return a page's HTML, with addresses that hold under any prefix that a proxy may add."""
    up = "../" * (page.path.count("/") - 1)
    sheets = [name for name in page.styles if name in files]
    styles = [f'<link rel="stylesheet" href="{escape(up + files.address(name))}">' for name in sheets]
    html = _SHELL.format(
        title=escape(page.title), styles="\n".join(styles), script=escape(up + files.address(page.script))
    )
    # It names the files' version: what a browser has of it may be old.
    return HTMLResponse(html, headers={"cache-control": "no-cache"})


def passed_on(answer: Answer) -> Response:
    """Return MLflow's own answer instead of a page: its 401 with the question for a password, its 403."""
    headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
    return Response(answer.body, answer.status, headers)


def not_found(request: Request) -> Response:
    """Return the answer where there is no page."""
    return PlainTextResponse(
        "There is no such page. Timelapse has: /timelapse/runs/{run id}, /timelapse/compare?run=…&run=…, "
        "/timelapse/experiments/{experiment id} and /timelapse/config.\n",
        404,
    )
