"""How fast are predictions read back? Against MLflow's own tables, bare requests, and bare Parquet.

Starts a real `mlflow server` (sqlite, files) on 127.0.0.1, writes finished runs in every form, reads them in
turn, many times, and prints medians and ratios:

    python benchmarks/bench_read.py --runs 20 --rounds 30 --rows 100
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import requests

from timelapse import Prediction, Round, Sample, SampleSet, load_predictions, names, start_run
from timelapse.reading.threads import DOWNLOADS
from timelapse.rounds import round_table

OURS, FOREIGN = "ours", "tables"
TABLE_TURNS = 3
FILES = (names.SAMPLES_FILE, names.ROUNDS_FILE)
WORDS = ["the", "model", "answers", "a", "question", "about", "verbs", "past", "tense", "went", "sang"]


@contextmanager
def server(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def wait_for(address: str, log: Path) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"The server did not start:\n{log.read_text()}")


def text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def make_rounds(samples: SampleSet, rounds: int, rng: random.Random) -> list[Round]:
    return [
        Round(
            step * 10,
            tuple(
                Prediction(
                    sample.sample_id,
                    text(rng, 30),
                    finish_reason="stop",
                    prompt_tokens=20,
                    prediction_tokens=30,
                    scores={
                        "exact_match": float(rng.random() < step / rounds),
                        "edit_similarity": rng.random(),
                    },
                    seconds=0.1,
                )
                for sample in samples
            ),
            epoch=step / 10,
            trigger="steps",
        )
        for step in range(rounds)
    ]


def mlflow_tables(samples: SampleSet, rounds: list[Round]) -> dict[str, bytes]:
    """Return what `mlflow.log_table` would write: a table for each round, and one with all rounds."""
    asked = pd.DataFrame({"prompt": [s.prompt for s in samples], "reference": [s.reference for s in samples]})
    columns = ["prediction", "finish_reason", "status", "error", "step", "epoch"]
    frames = []
    for table in map(round_table, rounds):
        rows = table.select(columns).to_pandas()
        scores = pd.DataFrame([dict(pairs) for pairs in table.column("scores").to_pylist()])
        frames.append(pd.concat([asked, rows, scores], axis=1))
    whole = pd.concat(frames, ignore_index=True)
    files = {
        f"table-{place}.json": frame.to_json(orient="split", index=False)
        for place, frame in enumerate(frames)
    }
    files["appended.json"] = whole.to_json(orient="split", index=False)
    return {name: content.encode() for name, content in files.items()}


def write_runs(options: argparse.Namespace, folder: Path) -> tuple[list[str], list[str]]:
    """Write the same rows as runs of ours and, in an experiment of their own, with MLflow's tables."""
    rng = random.Random(0)
    samples = SampleSet(
        tuple(
            Sample(({"role": "user", "content": f"{n} {text(rng, 15)}"},), text(rng, 30))
            for n in range(options.rows)
        )
    )
    ours, foreign = [], []
    places = {name: mlflow.MlflowClient().create_experiment(name) for name in (OURS, FOREIGN)}
    for _ in range(options.runs):
        rounds = make_rounds(samples, options.rounds, rng)
        ours.append(log_run(samples, rounds))
        foreign.append(store_tables(folder, places[FOREIGN], mlflow_tables(samples, rounds)))
    return ours, foreign


def log_run(samples: SampleSet, rounds: list[Round]) -> str:
    """Log a run as a training would, and return its id."""
    with start_run(experiment=OURS) as run:
        run.log_samples(samples)
        for each in rounds:
            run.log_round(each)
    assert run.run_id is not None
    return run.run_id


def store_tables(folder: Path, experiment: str, files: dict[str, bytes]) -> str:
    """Make a finished run; its tables go where the server keeps them, as `log_table` takes minutes."""
    client = mlflow.MlflowClient()
    listed = json.dumps([{"path": name, "type": "table"} for name in files])
    # The tag is what log_table leaves behind, so that load_table finds the files.
    run = client.create_run(experiment, tags={"mlflow.loggedArtifacts": listed}).info.run_id
    place = folder / "artifacts" / experiment / run / "artifacts"
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    client.update_run(run, "FINISHED")
    return run


class Readers:
    """The ways to read the same rows; each is checked for the number of rows that it returns."""

    def __init__(
        self, uri: str, runs: tuple[list[str], list[str]], options: argparse.Namespace, folder: Path
    ) -> None:
        self.uri, self.options, self.artifacts = uri, options, folder / "artifacts"
        self.runs, self.table_runs = runs
        self.ours, self.tables = (
            mlflow.get_experiment_by_name(name).experiment_id for name in (OURS, FOREIGN)
        )
        self.rows = len(self.runs) * options.rounds * options.rows

    def cold(self) -> None:
        self.warm()

    def warm(self) -> None:
        frame = load_predictions(experiment=OURS, tracking_uri=self.uri)
        assert len(frame) == self.rows, len(frame)

    def tables_by_round(self) -> None:
        runs = self.table_runs[: self.options.table_runs]
        frames = [self._table(f"table-{place}.json", runs) for place in range(self.options.rounds)]
        assert len(pd.concat(frames)) == len(runs) * self.options.rounds * self.options.rows

    def appended_table(self) -> None:
        frame = self._table("appended.json", self.table_runs)
        assert len(frame) == self.rows

    def _table(self, file: str, runs: list[str]) -> pd.DataFrame:
        return mlflow.MlflowClient().load_table(self.tables, file, runs, extra_columns=["run_id"])

    def bare_requests(self) -> None:
        """The files that hold what is read: samples and rounds of every run."""
        root = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{self.ours}"
        with requests.Session() as session, ThreadPoolExecutor(DOWNLOADS) as pool:
            session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=DOWNLOADS))
            addresses = [
                f"{root}/{run}/artifacts/{names.ARTIFACT_FOLDER}/{file}"
                for run in self.runs
                for file in FILES
            ]
            answers = list(pool.map(session.get, addresses))
        assert all(answer.ok for answer in answers)

    def bare_parquet(self) -> None:
        rows = 0
        for run in self.runs:
            place = self.artifacts / self.ours / run / "artifacts" / names.ARTIFACT_FOLDER
            pq.read_table(place / names.SAMPLES_FILE)
            rows += len(pq.read_table(place / names.ROUNDS_FILE))
        assert rows == self.rows

    def bare_search(self) -> None:
        """The requests that a warm reading cannot do without.

        Where Flask-WTF is not installed beside the server, MLflow 3.17 takes three times as long: an import
        fails anew for each search (`search_runs_impl`); nothing that a reader could change.
        """
        client = mlflow.MlflowClient()
        client.get_experiment_by_name(OURS)
        client.search_runs([self.ours], f"tags.`{names.TAG_SCHEMA}` LIKE '%'", max_results=1000)


def seconds(call: Callable[[], None]) -> float:
    """Return how long a call takes, from an empty disk queue: nobody pays for what another one wrote."""
    os.sync()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(readers: Readers, repeats: int) -> dict[str, list[float]]:
    """Return each reader's times, turn by turn: a busy machine harms all that are read in one turn alike.

    MLflow's own tables take seconds, and are a long way off: a few turns tell enough about them.
    """
    ways = {
        "cold": readers.cold,
        "warm": readers.warm,
        "(a) load_table, a table a round": readers.tables_by_round,
        "(b) load_table, one table a run": readers.appended_table,
        "(c) bare parallel GETs": readers.bare_requests,
        "(d) bare pyarrow read": readers.bare_parquet,
        "search for the runs alone": readers.bare_search,
    }
    readers.cold()  # imports, and the server's own caches
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name, call in ways.items():
            if name.startswith(("(a)", "(b)")) and turn >= TABLE_TURNS:
                continue
            if name == "cold":
                shutil.rmtree(os.environ["TIMELAPSE_CACHE"], ignore_errors=True)
            times[name].append(seconds(call))
    return times


def ratio(times: list[float], floor: list[float]) -> float:
    """Return how many times as long something takes: the median over the turns of both."""
    return statistics.median(mine / theirs for mine, theirs in zip(times, floor, strict=False))


def report(times: dict[str, list[float]], options: argparse.Namespace) -> None:
    print(f"{options.runs} runs x {options.rounds} rounds x {options.rows} rows, over HTTP, medians")
    for name, each in times.items():
        print(f"  {name:34} {statistics.median(each) * 1000:9.1f} ms ({len(each)} times)")
    scale = options.runs / options.table_runs
    by_round, cold = times["(a) load_table, a table a round"], times["cold"]
    whole = statistics.median(by_round) * scale
    if options.table_runs < options.runs:
        print(f"(a) was read for {options.table_runs} runs and is scaled to {options.runs}: {whole:.1f} s")
    rows = [
        ("cold against (a): times faster", ratio(by_round, cold) * scale, ">= 20"),
        ("cold against (b): times faster", ratio(times["(b) load_table, one table a run"], cold), ">= 2"),
        ("cold as a multiple of (c)", ratio(cold, times["(c) bare parallel GETs"]), "<= 1.5"),
        ("cached as a multiple of (d)", ratio(times["warm"], times["(d) bare pyarrow read"]), "<= 2"),
    ]
    print(f"\n{'':36} {'ratio':>9}   target")
    for name, times_, target in rows:
        sign, bound = target.split()
        held = times_ >= float(bound) if sign == ">=" else times_ <= float(bound)
        print(f"{name:36} {times_:9.2f}   {target:7} {'held' if held else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--table-runs", type=int, default=2, help="runs read in form (a); scaled to --runs")
    options = parser.parse_args()
    options.table_runs = min(options.table_runs, options.runs)
    with tempfile.TemporaryDirectory(prefix="timelapse-bench-") as place, server(Path(place)) as uri:
        os.environ |= {"TIMELAPSE_CACHE": f"{place}/cache", "TIMELAPSE_SPOOL": f"{place}/spool"}
        os.environ |= {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
        mlflow.set_tracking_uri(uri)
        runs = write_runs(options, Path(place))
        report(measure(Readers(uri, runs, options, Path(place)), options.repeats), options)


if __name__ == "__main__":
    main()
