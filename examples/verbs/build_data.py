"""Rebuild train.jsonl and eval.jsonl from the npm package english-verbs-irregular.

Usage:
    npm pack english-verbs-irregular@3.4.0
    python build_data.py english-verbs-irregular-3.4.0.tgz
"""

import json
import random
import sys
import tarfile
from pathlib import Path

TRAIN_ROWS, EVAL_ROWS, SEED = 96, 32, 7
LARGEST_HELD_OUT_FAMILY = 2  # the held-out verbs shall not be eight times "write"


def read_verbs(package: Path) -> dict[str, tuple[str, str]]:
    """Return past tense and participle of each verb that has just one of both."""
    with tarfile.open(package) as archive:
        member = archive.extractfile("package/dist/verbs.json")
        assert member is not None
        verbs = json.load(member)
    return {verb: tuple(forms[0]) for verb, forms in verbs.items() if len(forms) == 1}


def root_of(verb: str, verbs: dict[str, tuple[str, str]]) -> str:
    """Return the shortest verb that this one is built on: `get` for `forget`, itself for most."""
    for start in range(len(verb) - 2, 0, -1):
        root = verb[start:]
        if root in verbs and all(a.endswith(b) for a, b in zip(verbs[verb], verbs[root], strict=True)):
            return root
    return verb


def split(verbs: dict[str, tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Return verbs to train on and to hold out; a root and its derivatives stay on one side."""
    families: dict[str, list[str]] = {}
    for verb in sorted(verbs):
        families.setdefault(root_of(verb, verbs), []).append(verb)
    order = list(families.values())
    random.Random(SEED).shuffle(order)
    held_out: list[str] = []
    train: list[str] = []
    for family in order:
        fits = len(family) <= LARGEST_HELD_OUT_FAMILY and len(held_out) + len(family) <= EVAL_ROWS
        side = held_out if fits else train
        side.extend(family)
    return train[:TRAIN_ROWS], held_out


def row(verb: str, forms: tuple[str, str]) -> dict[str, object]:
    """Return a chat about one verb. The empty system turn keeps the template's long default away."""
    return {
        "messages": [
            {"role": "system", "content": ""},
            {"role": "user", "content": f'Past tense and participle of "{verb}"'},
            {"role": "assistant", "content": ", ".join(forms)},
        ],
        "verb": verb,
    }


def main() -> None:
    """Write both files beside this script."""
    verbs = read_verbs(Path(sys.argv[1]))
    folder = Path(__file__).parent
    for name, chosen in zip(("train", "eval"), split(verbs), strict=True):
        lines = [json.dumps(row(verb, verbs[verb]), ensure_ascii=False) + "\n" for verb in chosen]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
