"""The demo: a model learns at once to answer in JSON, and its facts stay wrong.

Usage: python examples/countries_json/demo.py

Everything it makes lies in `demo-output/countries/` below the current folder: MLflow's own database and
artifacts (its default store), and the trained adapter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

EXAMPLE = Path(__file__).resolve().parent
SHOWN = "Brazil"


def main() -> None:
    """Train, then print both curves and what the model said about one country."""
    started = time.monotonic()
    folder = Path("demo-output/countries").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the demo never writes to a server that you use
    train(folder)

    os.chdir(folder)  # MLflow's default store is in the current folder
    import timelapse

    answers = timelapse.load_predictions("last")
    print(f"\n{rates(answers).to_string(float_format='{:.2f}'.format)}\n")
    print_answers(answers, SHOWN)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Open it in the browser, inside MLflow:\n")
    print(f"  cd {folder} && {Path(sys.executable).with_name('timelapse')} ui\n")


def train(folder: Path) -> None:
    """Run `timelapse train` in a folder."""
    timelapse = str(Path(sys.executable).with_name("timelapse"))
    command = [timelapse, "train", str(EXAMPLE / "train.yaml"), "--set", "training.output_dir=adapter"]
    print(f"\n$ {' '.join(['timelapse', *command[1:]])}\n", flush=True)
    subprocess.run(command, cwd=folder, check=True)


def rates(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a row a round: the share of valid answers, and of those with all facts right."""
    numbers = answers[["step", "valid", "json_equal"]].astype(float).rename(columns={"valid": "valid_rate"})
    return numbers.astype({"step": int}).groupby("step").mean()


def print_answers(answers: pd.DataFrame, country: str) -> None:
    """Print what the model said about a country, round by round, and what is true."""
    rows = answers[answers["prompt"].str.contains(f'"{country}"', regex=False)].sort_values("step")
    print(f"{country}:")
    for step, text in zip(rows["step"], rows["prediction"], strict=True):
        print(f"  step {step:>2}  {' '.join(text.split())}")
    print(f"  true     {rows['reference'].iloc[0]}")


if __name__ == "__main__":
    main()
