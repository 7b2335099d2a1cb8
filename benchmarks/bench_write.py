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
from functools import partial
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

PAUSE = 0.1
"""Seconds between rounds that are logged one by one: longer than the uploader stands back for a loop."""
PEERS = {
    "bare Parquet": "bare pq.write_table + fsync + rename, nothing else running",
    "Trackio": "trackio.log of the same table",
}
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


def timed(call: Callable[[], object], pause: float = 0.0) -> float:
    time.sleep(pause)
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def bare_parquet(tables: Sequence[pa.Table], folder: Path, pause: float = 0.0) -> list[float]:
    """`pq.write_table`, fsync, rename, with nothing else running."""

    def write(table: pa.Table, place: int) -> None:
        aside = folder / f".{place}.part"
        with aside.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(folder / f"{place}.parquet")

    folder.mkdir()
    return [timed(partial(write, table, place), pause) for place, table in enumerate(tables)]


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
        times = [timed(partial(run.log_round, round_)) for round_ in rounds]
        logged = time.perf_counter() - began
    total = time.perf_counter() - began
    print(f"  all {len(rounds)} rounds on disk after {logged:.1f} s, in MLflow after {total:.1f} s")
    stored = mlflow.MlflowClient().get_run(str(run.run_id))
    assert stored.data.tags[names.TAG_ROUNDS] == str(len(rounds))
    assert stored.data.tags[names.TAG_STATUS] == "finished"
    return times, total


def growth(samples: SampleSet, rounds: Sequence[Round], few: int) -> float:
    """Return how many times as long a run's last rounds take as another run's first ones.

    They are logged in turn, with both uploaders busy: from one second to the next a shared machine is
    slower by more than what is looked for.
    """
    last, first = [], []
    with start_run("old") as old, start_run("new", nested=True) as new:
        for run in (old, new):
            run.log_samples(samples)
        for round_ in rounds[:-few]:
            old.log_round(round_)
        for late, early in zip(rounds[-few:], rounds[:few], strict=True):
            last.append(timed(partial(old.log_round, late)))
            first.append(timed(partial(new.log_round, early)))
        assert not old.flush(0.0), "the uploader was to be busy until the end"
    return statistics.median(last) / statistics.median(first)


def ours_while_sending(samples: SampleSet, rounds: Sequence[Round]) -> list[float]:
    """Return the caller's seconds for each of the last 50 rounds, while those before them are sent."""
    with start_run("ours, one by one") as run:
        run.log_samples(samples)
        for round_ in rounds[:-50]:
            run.log_round(round_)
        times = [timed(partial(run.log_round, round_), PAUSE) for round_ in rounds[-50:]]
        assert not run.flush(0.0), "the uploader was to be busy until the end"
    return times


def log_table(round_: Round, times: int) -> float:
    """Seconds of the last of so many `mlflow.log_table` calls that append to one table (median of five)."""
    table = round_table(round_).drop_columns(["scores", "validations"])
    columns = table.to_pydict()
    with mlflow.start_run():
        seconds = [timed(lambda: mlflow.log_table(columns, "table.json")) for _ in range(times)]
    return statistics.median(seconds[-5:])


def trackio(python: Path, round_: Round, folder: Path, rounds: int, pause: float = 0.0) -> float:
    """Median seconds of `trackio.log` of the same table."""
    folder.mkdir()
    columns = ("sample_id", "step", "epoch", "prediction", "status", "finish_reason", "prompt_tokens")
    table = {name: round_table(round_).column(name).to_pylist() for name in columns}
    (folder / "table.json").write_text(json.dumps(table))
    script = Path(__file__).with_name("trackio_log.py")
    command = [str(python.absolute()), str(script), str(folder), str(folder / "table.json")]
    done = subprocess.run(
        [*command, str(rounds), str(pause)], capture_output=True, text=True, check=True, cwd=folder
    )
    return float(done.stdout.rpartition("median_ms=")[2]) / 1000


def line(what: str, value: float, limit: float, *, at_least: bool = False) -> None:
    good = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    print(f"{what:<82} {value:8.2f}   ({sign} {limit:g})  {'ok' if good else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--passes", type=int, default=3, help="of each ratio the median is shown")
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
    passes = []
    for number in range(options.passes):
        place = folder / str(number)
        place.mkdir()
        passes.append(one_pass(place, samples, rounds, options.trackio))
        print("  " + ", ".join(f"{name} {value:.2f}" for name, value in passes[-1].items()))
    ratios = {name: statistics.median(each[name] for each in passes) for name in passes[0]}
    appended = log_table(rounds[0], options.tables) * 1e3

    tenth = max(1, len(rounds) // 10)
    grown = growth(samples, rounds, tenth)
    line(f"caller's time, last {tenth} of {len(rounds)} rounds / first {tenth}", grown, 1.1)
    limits = {"bare Parquet": 1.5} | ({"Trackio": 1.0} if options.trackio else {})
    for name, limit in limits.items():
        line(f"caller's median / {PEERS[name]}", ratios[f"to {name}"], limit)
        what = f"one round every {PAUSE:g} s, beside the sending / {name} at that pace"
        line(what, ratios[f"beside sending, to {name}"], limit)
    line("total until stored / bare loop of the same files and metrics", ratios["total to loop"], 1.2)
    name = f"mlflow.log_table at its {options.tables}th append"
    line(f"{name} / caller's median", appended / ratios["log_round ms"], 20, at_least=True)
    print(f"{name + ' / our total per round, in the background':<82} {appended / ratios['total ms']:8.2f}")


def one_pass(
    folder: Path, samples: SampleSet, rounds: list[Round], trackio_python: Path | None
) -> dict[str, float]:
    """Measure everything once; bursts of the peers before and after ours, because machines get slower."""
    client = mlflow.MlflowClient()
    few, half = [round_table(round_) for round_ in rounds[:200]], len(rounds) // 2
    loop = bare_loop(client, rounds[:half], folder / "loop1")
    parquet = bare_parquet(few, folder / "parquet1")
    peer = [trackio(trackio_python, rounds[0], folder / "trackio1", 200)] if trackio_python else []
    times, total = ours(samples, rounds)
    peer += [trackio(trackio_python, rounds[0], folder / "trackio2", 200)] if trackio_python else []
    parquet += bare_parquet(few, folder / "parquet2")
    loop += bare_loop(client, rounds[half:], folder / "loop2")

    slow = {"bare Parquet": statistics.median(bare_parquet(few[:50], folder / "parquet3", PAUSE))}
    busy = statistics.median(ours_while_sending(samples, rounds[:350]))
    fast = {"bare Parquet": statistics.median(parquet)}
    if trackio_python:
        slow["Trackio"] = trackio(trackio_python, rounds[0], folder / "trackio3", 50, PAUSE)
        fast["Trackio"] = statistics.mean(peer)
    median = statistics.median(times)
    return {
        "log_round ms": median * 1e3,
        **{f"to {name}": median / value for name, value in fast.items()},
        **{f"beside sending, to {name}": busy / value for name, value in slow.items()},
        "total ms": total / len(rounds) * 1e3,
        "total to loop": total / loop,
    }


if __name__ == "__main__":
    main()
