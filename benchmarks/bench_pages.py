"""How soon can a run page be used, next to MLflow's Artifacts page? And is scrubbing smooth?

Starts a real `mlflow server --app-name timelapse` (sqlite, files) on 127.0.0.1 that holds one run twice: as
rounds of ours, and as the same rows in a table of `mlflow.log_table`. A real Chromium opens both in turn and
prints medians and their ratio; then it moves through the rounds and prints what a move costs:

    python benchmarks/bench_pages.py --rounds 100 --samples 1000
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import mlflow
from playwright.sync_api import BrowserContext, CDPSession, Page
from playwright.sync_api import TimeoutError as OutOfPatience

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from bench_server import stored
from browser import chromium
from servers import MlflowServer
from stored_runs import make_samples

from timelapse import load_predictions

TABLE = "table.json"
LOAD_LIMIT, MOVE_LIMIT_MS, FRAMES_LIMIT = 0.5, 8.0, 0.05

_FRAMES = """
(milliseconds) => new Promise((done) => {
  const start = performance.now();
  let frames = 0;
  const next = (now) => {
    frames += 1;
    if (now - start < milliseconds) requestAnimationFrame(next);
    else done(frames / (now - start) * 1000);
  };
  requestAnimationFrame(next);
})
"""
_PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def log_table(uri: str, run_id: str) -> None:
    """Store a run's rows once more, as `mlflow.log_table` writes them; by itself it would take minutes."""
    columns = ["step", "epoch", "prompt", "reference", "prediction", "status", "exact_match", "chrf"]
    frame = load_predictions(run_id, tracking_uri=uri)[columns]
    client = mlflow.MlflowClient(uri)
    client.log_text(run_id, frame.to_json(orient="split", index=False), TABLE)
    client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))


def opened(context: BrowserContext, url: str, used: Callable[[Page], None]) -> float:
    """Return the seconds from asking for a page until it is used; at most as long as there is patience."""
    page = context.new_page()
    start = time.perf_counter()
    with contextlib.suppress(OutOfPatience):
        page.goto(url, wait_until="commit")
        used(page)
    taken = time.perf_counter() - start
    page.close()
    return taken


def use_our_page(page: Page) -> None:
    """Wait for the answers and the matrix, and go to another round."""
    page.wait_for_selector(".answers .window .tr .prediction")
    page.wait_for_selector(".matrix canvas")
    page.keyboard.press("Home")
    page.wait_for_selector("text=Predictions at step 0")


def use_mlflow_page(page: Page) -> None:
    """Wait for the first rows of the table."""
    page.wait_for_selector('text="main question 0"')


def moves(page: Page, number: int) -> tuple[list[float], int]:
    """Return the milliseconds of script that each of some moves takes, and how many requests they make."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    tools = page.context.new_cdp_session(page)
    # Processor time of the page's thread: on a busy machine a clock would count what others do.
    tools.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    tools.send("Performance.enable")
    page.keyboard.press("Home")
    page.evaluate(_PAINTED)
    taken = []
    for at in range(number):
        before = script_seconds(tools)
        page.keyboard.press("ArrowRight" if at // 90 % 2 == 0 else "ArrowLeft")
        page.evaluate(_PAINTED)
        taken.append((script_seconds(tools) - before) * 1000)
    return taken, len(requests)


def script_seconds(tools: CDPSession) -> float:
    found = tools.send("Performance.getMetrics")["metrics"]
    return next(each["value"] for each in found if each["name"] == "ScriptDuration")


def frames(page: Page, seconds: float) -> tuple[float, float]:
    """Return the frames a second while nothing happens, and while the rounds are scrubbed through."""
    idle = page.evaluate(_FRAMES, seconds * 1000)
    page.keyboard.press("Home")
    page.evaluate(
        """() => {
          let at = 0;
          window.scrubbing = setInterval(() => {
            const key = Math.floor(at / 90) % 2 ? 'ArrowLeft' : 'ArrowRight';
            at += 1;
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
          }, 33);
        }"""
    )
    busy = page.evaluate(_FRAMES, seconds * 1000)
    page.evaluate("clearInterval(window.scrubbing)")
    return idle, busy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--patience", type=float, default=60, help="seconds that a page may take to be used")
    parser.add_argument("--moves", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        uri, run_id = stored(folder, options.rounds, make_samples(options.samples))
        log_table(uri, run_id)
        settings = ("--artifacts-destination", str(folder / "artifacts"), "--app-name", "timelapse")
        server = stack.enter_context(MlflowServer(folder, *settings, backend=uri))
        experiment = mlflow.MlflowClient(uri).get_run(run_id).info.experiment_id
        context = stack.enter_context(chromium()).new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(options.patience * 1000)
        ours = f"{server.uri}/timelapse/runs/{run_id}"
        theirs = f"{server.uri}/#/experiments/{experiment}/runs/{run_id}/artifacts/{TABLE}"
        page = context.new_page()  # first: MLflow's page keeps a processor busy for long after it is closed
        page.goto(ours)
        use_our_page(page)
        page.wait_for_load_state("networkidle")
        missed = scrubbing(page, options.moves)
        page.close()
        missed += loading(context, ours, theirs, options)
    for each in missed:
        print(f"Failed: {each}", file=sys.stderr)
    sys.exit(bool(missed))


def loading(context: BrowserContext, ours: str, theirs: str, options: argparse.Namespace) -> list[str]:
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(options.times + 1):  # the first time warms the server, and the browser's cache
        pair = {
            "ours": opened(context, ours, use_our_page),
            "theirs": opened(context, theirs, use_mlflow_page),
        }
        for name, seconds in pair.items():
            if number:
                found[name].append(seconds)
            else:
                print(f"first time, {name:8} {seconds * 1000:8.0f} ms")
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratio = medians["ours"] / medians["theirs"]
    if medians["theirs"] >= options.patience:
        print(f"MLflow's page does not show the table within {options.patience:g} s: this is counted for it")
    print(f"run page, usable     {medians['ours'] * 1000:8.0f} ms")
    print(f"MLflow's table       {medians['theirs'] * 1000:8.0f} ms   ratio {ratio:.2f} (<= {LOAD_LIMIT})")
    return [] if ratio <= LOAD_LIMIT else [f"the run page takes {ratio:.2f} of MLflow's Artifacts page"]


def scrubbing(page: Page, number: int) -> list[str]:
    taken, requests = moves(page, number)
    p95 = statistics.quantiles(taken, n=20)[-1]
    idle, busy = frames(page, 5)
    dropped = (1 - busy / 60, 1 - idle / 60)
    print(
        f"a move: script       {statistics.median(taken):8.1f} ms   p95 {p95:.1f} ms (<= {MOVE_LIMIT_MS:g})"
    )
    print(f"requests of {number} moves {requests:6}      (0)")
    print(f"frames dropped       {dropped[0]:8.1%}   idle {dropped[1]:.1%} (at most 5 points more)")
    return [
        *([f"a move takes {p95:.1f} ms of script"] if p95 > MOVE_LIMIT_MS else []),
        *([f"moves make {requests} requests"] if requests else []),
        *(["scrubbing drops frames"] if dropped[0] > dropped[1] + FRAMES_LIMIT else []),
    ]


if __name__ == "__main__":
    main()
