"""The demo: fine-tune a real small language model, and watch its answers evolve.

Usage: python demo.py   (or `make demo` in the project's folder)

Everything it makes lies in `demo-output/` below the current folder: MLflow's own database and artifacts
(its default store), and the trained adapter.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent
SHOWN = "bring"


def main() -> None:
    """Train, then show the rounds and a few samples in the terminal."""
    started = time.monotonic()
    folder = Path("demo-output").resolve()
    folder.mkdir(exist_ok=True)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the demo never writes to a server that you use
    timelapse = str(Path(sys.executable).with_name("timelapse"))

    def run(*command: str) -> None:
        print(f"\n$ {' '.join(['timelapse', *command])}\n", flush=True)
        code = subprocess.run([timelapse, *command], cwd=folder).returncode
        if code:
            print(f"\n'timelapse {command[0]}' ended with exit code {code}. What it stored is still there:")
            sys.exit(f"  cd {folder} && {timelapse} sync")

    run("train", str(EXAMPLE / "config.yaml"), "--set", "training.output_dir=adapter")
    run("show", "last", "--limit", "6")
    run("show", "last", "--sample", str(index_of(SHOWN)))

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"\nDone in {time.monotonic() - started:.0f} s, with at most {peak:.1f} GiB of memory.")
    print("\nOpen it in the browser, inside MLflow:\n")
    print(f"  cd {folder} && {timelapse} ui\n")
    print(f"Read every answer in Python ({sys.executable}), in that folder:\n")
    print('  import timelapse; df = timelapse.load_predictions("last")\n')


def index_of(verb: str) -> int:
    """Return a verb's place among the held-out samples."""
    lines = (EXAMPLE / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    return next(index for index, line in enumerate(lines) if f'"verb": "{verb}"' in line)


if __name__ == "__main__":
    main()
