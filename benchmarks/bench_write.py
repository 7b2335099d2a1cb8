"""What does logging a round cost? Against bare Parquet, Trackio, a bare loop of requests, MLflow's tables.

Starts a real `mlflow server` (sqlite, files) on 127.0.0.1 and logs rounds of 100 answers to it:

    make bench-write
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Metric
from servers import MlflowServer

from timelapse import Prediction, Round, Sample, SampleSet, names, start_run
from timelapse.rounds import round_table
from timelapse.tables import parquet_bytes
from timelapse.writing.metrics import round_metrics

WORDS = [f"word{number}" for number in range(2000)]


def make_samples(rows: int) -> SampleSet:
    return SampleSet(
        tuple(
            Sample(({"role": "user", "content": f"Question number {place}?"},), reference="word1 word2")
            for place in range(rows)
        )
    )


def make_round(samples: SampleSet, step: int, random: Random) -> Round:
    """A round as a model would give it: 40 words an answer, some of them changed since the last."""
    rows = tuple(
        Prediction(
            sample.sample_id,
            " ".join(random.choices(WORDS, k=40)),
            finish_reason="stop",
            prompt_tokens=30,
            prediction_tokens=60,
            seconds=0.01,
        )
        for sample in samples
    )
    return Round(step, rows, epoch=step / 10, trigger="steps", seconds=1.0)


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def bare_parquet(tables: Sequence[pa.Table], folder: Path) -> list[float]:
    """`pq.write_table`, fsync, rename, with nothing else running."""

    def write(table: pa.Table, place: int) -> None:
        aside = folder / f".{place}.part"
        with aside.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(folder / f"{place}.parquet")

    folder.mkdir()
    return [timed(lambda t=table, p=place: write(t, p)) for place, table in enumerate(tables)]


def bare_loop(client: mlflow.MlflowClient, rounds: Sequence[Round], folder: Path) -> float:
    """Put the same Parquet files and metrics, one round after the other, with MLflow's client."""
    folder.mkdir()
    ready = []
    for place, round_ in enumerate(rounds):
        path = folder / names.round_file(round_.step)
        path.write_bytes(parquet_bytes(round_table(round_)))
        numbers = round_metrics(round_, rounds[place - 1] if place else None)
        numbers |= {"exact_match": 0.0, "edit_similarity": 0.0}
        metrics = [Metric(names.metric(name), value, 1, round_.step) for name, value in numbers.items()]
        ready.append((path, metrics))
    run_id = client.create_run("0").info.run_id
    began = time.perf_counter()
    for path, metrics in ready:
        client.log_artifact(run_id, str(path), names.ARTIFACT_FOLDER)
        client.log_batch(run_id, metrics=metrics)
    client.set_terminated(run_id)
    return time.perf_counter() - began


def ours(samples: SampleSet, rounds: Sequence[Round]) -> tuple[list[float], float]:
    """Return the caller's seconds for each round, and the seconds until the last one is stored."""
    with start_run("ours") as run:
        run.log_samples(samples)
        run.flush()
        began = time.perf_counter()
        times = [timed(lambda r=round_: run.log_round(r)) for round_ in rounds]
        logged = time.perf_counter() - began
    total = time.perf_counter() - began
    print(f"  all {len(rounds)} rounds on disk after {logged:.1f} s, in MLflow after {total:.1f} s")
    stored = mlflow.MlflowClient().get_run(str(run.run_id))
    assert stored.data.tags[names.TAG_ROUNDS] == str(len(rounds))
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    return times, total


def log_table(round_: Round, times: int) -> float:
    """Seconds of the last of so many `mlflow.log_table` calls that append to one table (median of five)."""
    table = round_table(round_).drop_columns(["scores", "validations"])
    columns = table.to_pydict()
    with mlflow.start_run():
        seconds = [timed(lambda: mlflow.log_table(columns, "table.json")) for _ in range(times)]
    return statistics.median(seconds[-5:])


def trackio(python: Path, round_: Round, folder: Path, rounds: int) -> float:
    """Median seconds of `trackio.log` of the same table."""
    folder.mkdir()
    columns = ("sample_id", "step", "epoch", "prediction", "status", "finish_reason", "prompt_tokens")
    table = {name: round_table(round_).column(name).to_pylist() for name in columns}
    (folder / "table.json").write_text(json.dumps(table))
    script = Path(__file__).with_name("trackio_log.py")
    command = [str(python.absolute()), str(script), str(folder), str(folder / "table.json"), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
    return float(done.stdout.rpartition("median_ms=")[2]) / 1000


def line(what: str, value: float, limit: float, *, at_least: bool = False) -> None:
    good = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    print(f"{what:<82} {value:8.2f}   ({sign} {limit:g})  {'ok' if good else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--tables", type=int, default=100, help="appends of mlflow.log_table")
    parser.add_argument(
        "--trackio", type=Path, help="a Python that has trackio; without it that line is left out"
    )
    options = parser.parse_args()
    random = Random(0)
    samples = make_samples(options.rows)
    rounds = [make_round(samples, step, random) for step in range(options.rounds)]
    with tempfile.TemporaryDirectory(prefix="bench-write-") as place:
        folder = Path(place)
        os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
        os.environ["TIMELAPSE_SPOOL"] = str(folder / "spool")
        with MlflowServer(folder) as server:
            mlflow.set_tracking_uri(server.uri)
            run_all(options, folder, samples, rounds)


def run_all(options: argparse.Namespace, folder: Path, samples: SampleSet, rounds: list[Round]) -> None:
    client = mlflow.MlflowClient()
    few = [round_table(round_) for round_ in rounds[:200]]
    parquet = bare_parquet(few, folder / "before")
    peer = trackio(options.trackio, rounds[0], folder / "trackio", 200) if options.trackio else None
    loop_before = bare_loop(client, rounds[: len(rounds) // 2], folder / "loop1")
    times, total = ours(samples, rounds)
    loop = loop_before + bare_loop(client, rounds[len(rounds) // 2 :], folder / "loop2")
    parquet = statistics.median(parquet + bare_parquet(few, folder / "after"))
    peers = [peer, trackio(options.trackio, rounds[0], folder / "trackio2", 200)] if peer else []
    appended = log_table(rounds[0], options.tables)

    median = statistics.median(times)
    tenth = max(1, len(times) // 10)
    growth = statistics.median(times[-tenth:]) / statistics.median(times[:tenth])
    print(f"log_round: median {median * 1e3:.2f} ms, uploader busy; bare Parquet {parquet * 1e3:.2f} ms")
    line(f"caller's time, last {tenth} rounds / first {tenth}", growth, 1.1)
    line(
        "caller's median / bare pq.write_table + fsync + rename, nothing else running", median / parquet, 1.5
    )
    if peers:
        line("caller's median / trackio.log of the same table", median / statistics.mean(peers), 1.0)
    line("total until stored / bare loop of the same files and metrics", total / loop, 1.2)
    name = f"mlflow.log_table at its {options.tables}th append"
    line(f"{name} / caller's median", appended / median, 20, at_least=True)
    print(f"{name + ' / our total per round, in the background':<82} {appended * len(rounds) / total:8.2f}")


if __name__ == "__main__":
    main()
