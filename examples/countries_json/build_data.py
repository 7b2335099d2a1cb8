"""Rebuild train.jsonl and eval.jsonl from countries.csv.

Usage: python build_data.py
"""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

EVAL_ROWS, SEED = 24, 7
PROMPT = 'Facts about "{country}" as JSON with the keys capital, continent, currency'


def row(facts: dict[str, str]) -> dict[str, object]:
    """Return a chat about one country. The empty system turn keeps the template's long default away."""
    answer = {key: facts[key] for key in ("capital", "continent", "currency")}
    return {
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": PROMPT.format(country=facts["country"])},
            {"role": "assistant", "content": json.dumps(answer, ensure_ascii=False, separators=(",", ":"))},
        ],
        "country": facts["country"],
    }


def main() -> None:
    """Write both files beside this script."""
    folder = Path(__file__).resolve().parent
    with (folder / "countries.csv").open(encoding="utf-8", newline="") as file:
        countries = list(csv.DictReader(file))
    random.Random(SEED).shuffle(countries)
    for name, chosen in (("eval", countries[:EVAL_ROWS]), ("train", countries[EVAL_ROWS:])):
        lines = [json.dumps(row(facts), ensure_ascii=False) + "\n" for facts in chosen]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
