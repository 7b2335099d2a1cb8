"""How fast does the server plugin answer, next to MLflow itself? And does it bear fifty viewers?

Starts real servers (sqlite, files) on 127.0.0.1: `mlflow server --app-name timelapse`, and one that has
MLflow's app with and without our wrapper; asks in turn, many times, and prints medians and ratios:

    python benchmarks/bench_server.py --rounds 100 --samples 1000

With `--api-only` the API is mounted before MLflow's app without the rest of the plug-in.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mlflow
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from api_server import MOUNTED, ApiServer
from servers import MlflowServer, Server
from stored_runs import finished_files, make_samples, round_files, store_run
from twin_server import TwinServer

from timelapse import Prediction, Round, SampleSet

WORDS = ["the", "model", "answers", "a", "question", "about", "verbs", "past", "tense", "went", "sang"]
PAGE_LIMIT, WRAPPED_LIMIT = 3.0, 1.03


def stored(folder: Path, rounds: int, samples: SampleSet) -> tuple[str, str]:
    """Store a finished run; return the store's URI and the run's id."""
    uri = f"sqlite:///{folder / 'server.db'}"
    client, draw = mlflow.MlflowClient(uri), random.Random(0)
    experiment = client.create_experiment("bench", artifact_location=(folder / "stored").as_uri())
    told = [
        Round(
            10 * number,
            tuple(
                Prediction(
                    each.sample_id,
                    " ".join(draw.choices(WORDS, k=12)),
                    finish_reason="stop",
                    scores={"exact_match": float(draw.random() < number / rounds), "chrf": draw.random()},
                    prediction_tokens=12,
                )
                for each in samples
            ),
            epoch=number / 10,
        )
        for number in range(rounds)
    ]
    return uri, store_run(client, experiment, finished_files([samples], round_files(told)))


def timed(session: requests.Session, url: str, headers: dict[str, str] | None = None) -> float:
    start = time.perf_counter()
    answer = session.get(url, headers=headers)
    took = time.perf_counter() - start
    if answer.status_code not in (200, 304):
        raise SystemExit(f"{url}: {answer.status_code}: {answer.text[:300]}")
    return took


def interleaved(urls: dict[str, str], times: int) -> dict[str, float]:
    """Return the median seconds of each request, all of them asked in turn over kept connections.

    There and back: whoever is always the first of a turn would be a percent slower for that alone.
    """
    session = requests.Session()
    found: dict[str, list[float]] = {name: [] for name in urls}
    there = list(urls.items())
    for number in range(times + 5):
        for name, url in there if number % 2 else reversed(there):
            seconds = timed(session, url)
            if number >= 5:
                found[name].append(seconds)
    return {name: statistics.median(values) for name, values in found.items()}


def pages(uri: str, run_id: str, times: int) -> dict[str, Any]:
    api = f"{uri}{MOUNTED}/runs/{run_id}"
    start = time.perf_counter()
    size = len(requests.get(f"{api}/overview", timeout=600).content)
    cold = time.perf_counter() - start
    asked = {
        "runs/get": f"{uri}/api/2.0/mlflow/runs/get?run_id={run_id}",
        "page of 50": f"{api}/predictions?limit=50",
        "page of 50, sorted": f"{api}/predictions?limit=50&sort=chrf&order=desc",
        "overview": f"{api}/overview",
    }
    medians = interleaved(asked, times)
    for name, seconds in medians.items():
        print(f"{name:24} {seconds * 1000:8.2f} ms   {seconds / medians['runs/get']:5.2f} x runs/get")
    fresh = [
        timed(requests.Session(), f"{api}/predictions?limit=50&text={word}&step={step}")
        for word in WORDS[:4]
        for step in (0, 10)
    ]
    print(f"a page not asked before  {statistics.median(fresh) * 1000:8.2f} ms")
    print(f"overview, cold           {cold * 1000:8.0f} ms for {size:,} bytes")
    return {"page": medians["page of 50"] / medians["runs/get"]}


_MANY = 5  # times as many pairs where three percent count


def wrapped(server: TwinServer, run_id: str, times: int) -> float:
    """Return the worst ratio of MLflow's own endpoints through the wrapper and without it."""
    worst = 0.0
    for path in (
        f"/api/2.0/mlflow/runs/get?run_id={run_id}",
        "/api/2.0/mlflow/experiments/search?max_results=10",
        f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=timelapse",
    ):
        medians = interleaved({"wrapped": server.wrapped + path, "bare": server.bare + path}, _MANY * times)
        ratio = medians["wrapped"] / medians["bare"]
        worst = max(worst, ratio)
        print(
            f"{path[:44]:44} {medians['wrapped'] * 1000:7.2f} ms / "
            f"{medians['bare'] * 1000:7.2f} ms = {ratio:.3f}"
        )
    return worst


def viewers(server: Server, uri: str, run_id: str, seconds: float, count: int = 50) -> list[str]:
    """Let many people look at a run for a while; return what went wrong."""
    assert server.process is not None
    api, wrong, asked = f"{uri}{MOUNTED}/runs/{run_id}", [], [0]
    end = time.monotonic() + seconds

    def look(number: int) -> None:
        session, draw = requests.Session(), random.Random(number)
        tag = ""
        while time.monotonic() < end:
            try:
                answer = session.get(f"{api}/overview", headers={"if-none-match": tag}, timeout=60)
                tag = answer.headers.get("etag", "")
                lane, step = draw.randrange(50), 10 * draw.randrange(10)
                answers = [
                    answer,
                    session.get(f"{api}/texts?lane={lane}&lane={lane + 1}", timeout=60),
                    session.get(f"{api}/predictions?step={step}&limit=50", timeout=60),
                ]
            except requests.RequestException as error:
                wrong.append(str(error))
                continue
            asked[0] += len(answers)
            wrong.extend(each.text[:200] for each in answers if each.status_code not in (200, 304))
            time.sleep(draw.random())

    before = memory(server.process.pid)
    threads = [threading.Thread(target=look, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = memory(server.process.pid)
    print(
        f"{count} viewers for {seconds:g} s: {asked[0]:,} answers, {len(wrong)} errors; server memory: ",
        end="",
    )
    print(f"{before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
    if after - before > 600 << 20:
        wrong.append(f"the server's memory grew by {after - before:,} bytes")
    return wrong


def memory(pid: int) -> int:
    """Return the resident bytes of a process and its children."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:  # it has ended
            continue
        if pid in (int(fields["Pid"]), int(fields["PPid"])) and "VmRSS" in fields:
            total += int(fields["VmRSS"].split()[0]) * 1024
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument(
        "--seconds", type=float, default=60, help="how long the viewers look; 0: there are none"
    )
    parser.add_argument("--api-only", action="store_true")
    options = parser.parse_args()
    failures = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        uri, run_id = stored(folder, options.rounds, make_samples(options.samples))
        server: Server
        if options.api_only:
            server = stack.enter_context(ApiServer(folder, uri))
            address = server.uri
        else:
            print("MLflow's own endpoints through the wrapper / without it, in one process:")
            with TwinServer(folder, uri) as twins:
                ratio = wrapped(twins, run_id, options.times)
            if ratio > WRAPPED_LIMIT:
                failures.append(f"MLflow's own endpoints take more than {WRAPPED_LIMIT} times as long")
            artifacts = ("--artifacts-destination", str(folder / "artifacts"))
            server = MlflowServer(folder, *artifacts, "--app-name", "timelapse", backend=uri)
            address = stack.enter_context(server).uri
        if pages(address, run_id, options.times)["page"] > PAGE_LIMIT:
            failures.append(f"a page of 50 rows takes more than {PAGE_LIMIT} times runs/get")
        if options.seconds:
            failures += viewers(server, address, run_id, options.seconds)[:5]
    for failure in failures:
        print(f"Failed: {failure}", file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
