"""A warm template of trainings to be killed: it has imported everything, and forks one at a word.

Reads `LEDGER SPOOL` lines from stdin, and answers each with the process id of a training that logs to the
experiment and tracking URI given as arguments. A training notes every completed round in its ledger.
"""

import os
import signal
import sys
import time
from pathlib import Path

import mlflow
from warm import warm_up

from timelapse import Prediction, Round, Sample, SampleSet, start_run

SAMPLES = SampleSet(
    tuple(
        Sample(({"role": "user", "content": f"question {place}"},), f"right {place}") for place in range(10)
    )
)


def answer(step: int, place: int) -> str:
    """Return what is answered: right from step 10 on for the even places."""
    return f"right {place}" if step >= 10 and place % 2 == 0 else f"wrong at {step}"


def round_at(step: int) -> Round:
    rows = (Prediction(sample.sample_id, answer(step, place)) for place, sample in enumerate(SAMPLES))
    return Round(step, tuple(rows), seconds=0.5)


def train(ledger: Path) -> None:
    """Log rounds until killed; the ledger holds those whose logging has returned, and the run."""
    with ledger.open("a", buffering=1) as notes, start_run(ledger.stem, experiment=sys.argv[1]) as run:
        notes.write(f"run {run.run_id}\n")
        run.log_samples(SAMPLES)
        for step in range(1, 100_000):
            run.log_round(round_at(step))
            notes.write(f"{step}\n")
            run.log_metrics({"loss": 1 / step}, step)
            time.sleep(0.02)


def main() -> None:
    mlflow.set_tracking_uri(sys.argv[2])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead need nobody's attention
    warm_up()
    print("warm", flush=True)
    for line in sys.stdin:
        ledger, spool = line.split()
        child = os.fork()
        if child == 0:
            os.environ["TIMELAPSE_SPOOL"] = spool
            train(Path(ledger))
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
