"""Our pages over real stored runs, without MLflow's server: shells, modules, and the tracker's own documents.

For tests of the pages alone. Everything has the headers that the real server sets, so that what it would
refuse is refused here.
"""

from __future__ import annotations

import json
import mimetypes
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import mlflow

import timelapse_plugins
from timelapse import names, report
from timelapse.analysis.history import split_selector
from timelapse.config.model import json_schema
from timelapse.errors import ConfigError, RunError
from timelapse.reading.loader import load_rounds
from timelapse.report.compare_export import comparison_file
from timelapse.report.compare_view import compare_document, compare_read
from timelapse.report.config_view import Guess, check_typed
from timelapse.report.documents import RunInfo
from timelapse.report.run_view import RunView
from timelapse.report.state import state
from timelapse.report.trends import trends

PREFIX = "/ml"
"""As `mlflow server --static-prefix` sets it: pages must find their way under any."""
FOLDERS = {
    "report": Path(str(files(report))) / "static",
    "plugin": Path(str(files(timelapse_plugins))) / "static",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "font-src 'self'; base-uri 'none'; form-action 'none'"
)
SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Timelapse</title>
<link rel="stylesheet" href="{up}static/report/timelapse.css">
<link rel="stylesheet" href="{up}static/report/vendor/uplot.css">
</head>
<body>
<div id="app"></div>
<script type="module" src="{up}static/plugin/{module}"></script>
</body>
</html>
"""
MODULES = {"compare": "compare-page.js", "experiments": "experiment-page.js", "config": "config-page.js"}

Query = dict[str, list[str]]


class Data:
    """The documents, made of runs in an MLflow store."""

    def __init__(self, client: mlflow.MlflowClient) -> None:
        self._client = client
        self._loaded = lru_cache(maxsize=None)(lambda run_id: load_rounds(client, run_id))

    def answer(self, path: str, query: Query) -> Any:
        """Return the document at a path below the API."""
        parts = path.split("/")
        one = {name: values[0] for name, values in query.items() if name != "workspace"}
        if parts == ["compare"]:
            return asdict(compare_document(self._compared(query, one)))
        if parts == ["compare", "export"]:
            return comparison_file(self._compared(query, one), one["format"])
        if parts == ["config", "schema"]:
            return json_schema()
        if parts == ["config", "check"]:
            told = {name: int(value) for name, value in one.items() if name != "config"}
            return asdict(check_typed(one.get("config", ""), Guess(**told)))
        if parts[0] == "experiments" and parts[2:] == ["runs"]:
            return self._runs(parts[1], one)
        if parts[0] == "runs":
            return self._run(parts[1], parts[2:], query)
        raise RunError("There is no such address.")

    def _compared(self, query: Query, one: dict[str, str]) -> Any:
        ids = {split_selector(each)[0] for each in query.get("run", [])}
        read = {run_id: (self._info(run_id), self._loaded(run_id)) for run_id in ids}
        wanted = [one.get(name) for name in ("against", "score", "set")]
        return compare_read(read, query.get("run", []), one.get("round", "best"), *wanted)

    def _runs(self, experiment_id: str, one: dict[str, str]) -> Any:
        limit, start = int(one.get("limit", 50)), int(one.get("cursor", 0))
        found = self._client.search_runs([experiment_id], f"tags.`{names.TAG_SCHEMA}` != ''")
        lines = [self._line(run.info.run_id, one.get("sample")) for run in found[start : start + limit]]
        more = str(start + limit) if len(found) > start + limit else None
        name = self._client.get_experiment(experiment_id).name
        return {"experiment_id": experiment_id, "experiment": name, "runs": lines, "next_cursor": more}

    def _line(self, run_id: str, sample: str | None) -> Any:
        view = RunView(self._loaded(run_id))
        told = trends(view.grid, view.marks)
        points = zip(view.steps, told.get(view.main_score or "", []), strict=False)
        rows = [row for row in view.grid.rows.to_pylist() if row["sample_id"] == sample]
        last = {"step": None, "prediction": None, "problem": "The run has no answer to this sample."}
        if rows:
            last = {
                "step": rows[-1]["step"],
                "prediction": rows[-1]["prediction"],
                "problem": rows[-1]["error"],
            }
        return {
            "run": asdict(self._info(run_id)),
            "rounds": len(view.steps),
            "main_score": view.main_score,
            "series": [{"step": step, "value": value} for step, value in points],
            "learned": told.get("learned", [None])[-1],
            "forgotten": told.get("forgotten", [None])[-1],
            "last_text": last if sample else None,
        }

    def _run(self, run_id: str, rest: list[str], query: Query) -> Any:
        view = RunView(self._loaded(run_id))
        if rest == ["overview"]:
            return asdict(view.overview(self._info(run_id)))
        if rest == ["timeline"]:
            return asdict(view.timeline(query["sample"][0]))
        raise RunError("There is no such address.")

    def _info(self, run_id: str) -> RunInfo:
        try:
            run = self._client.get_run(run_id)
        except mlflow.MlflowException as error:
            raise RunError(f"There is no run {run_id}.") from error
        info, experiment = run.info, self._client.get_experiment(run.info.experiment_id).name
        found = state(run.data.tags, info.status)
        times = (info.start_time, info.end_time)
        return RunInfo(
            run_id,
            info.run_name,
            info.experiment_id,
            experiment,
            info.status,
            found,
            *times,
            None,
            None,
            None,
        )


class PageServer(AbstractContextManager["PageServer"]):
    """Serves the pages on a free port of 127.0.0.1 while it is open; `asked` holds the paths asked for."""

    def __init__(self, client: mlflow.MlflowClient) -> None:
        self.asked: list[str] = []
        handler = type("Handler", (_Handler,), {"data": Data(client), "asked": self.asked})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}{PREFIX}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    data: Data
    asked: list[str]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.asked.append(self.path)
        path = unquote(url.path).removeprefix(f"{PREFIX}/timelapse/")
        top, _, rest = path.partition("/")
        answers: dict[str, Callable[[str], None]] = {"static": self._static, "api": self._api}
        if top in MODULES:
            up = "../" * rest.count("/") + ("../" if rest else "")
            self._send(SHELL.format(up=up, module=MODULES[top]).encode(), "text/html; charset=utf-8")
        elif top in answers:
            answers[top](rest)
        elif url.path == "/favicon.ico":  # MLflow has one
            self._send(b"", "image/x-icon")
        else:
            self._send(b"not found", "text/plain", HTTPStatus.NOT_FOUND)

    def _static(self, path: str) -> None:
        folder, _, name = path.partition("/")
        file = FOLDERS[folder] / name
        if not file.is_file():
            self._send(b"not found", "text/plain", HTTPStatus.NOT_FOUND)
            return
        self._send(file.read_bytes(), mimetypes.guess_type(file.name)[0] or "text/plain")

    def _api(self, path: str) -> None:
        url = urlsplit(self.path)
        try:
            found = self.data.answer(path.removeprefix("v1/"), parse_qs(url.query))
        except (RunError, ConfigError) as error:
            problem = {
                "title": "Not found",
                "status": 404,
                "detail": str(error),
                "hint": "Look at `timelapse runs`.",
            }
            self._send(json.dumps(problem).encode(), "application/problem+json", HTTPStatus.NOT_FOUND)
            return
        body = found if isinstance(found, bytes) else json.dumps(found, allow_nan=False).encode()
        self._send(body, "text/csv" if b"run,run_id" in body[:10] else "application/json")

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""
