"""Answers from an inference of your own (vLLM, an API, a reinforcement-learning loop): `log_predictions`.

Run `python own_inference.py`. No torch is needed. You see the mean of a score of your own, next to the
built-in ones, and that a request which failed is a row as well, with its error.
"""

from __future__ import annotations

from typing import Any

import timelapse

PAST = {"go": "went", "sing": "sang", "walk": "walked", "see": "saw"}


def ask(verb: str, checkpoint: int) -> str:
    """Stand in for a server that has loaded a checkpoint: the later one, the more verbs it knows."""
    if checkpoint == 0 and verb == "see":
        raise TimeoutError("no answer in 30 s")
    known = list(PAST)[: checkpoint // 50]
    return PAST[verb] if verb in known else verb + "ed"


def answered(verb: str, checkpoint: int) -> dict[str, Any]:
    """Return a row: the question, its reference, and the answer or the error."""
    row = {"prompt": f"What is the past tense of {verb}?", "reference": PAST[verb]}
    try:
        answer = ask(verb, checkpoint)
    except TimeoutError as error:
        return row | {"error": error}
    return row | {"prediction": answer, "short": float(len(answer) <= 4)}


with timelapse.start_run("own-inference") as run:
    for checkpoint in (0, 100, 200):
        rows = [answered(verb, checkpoint) for verb in PAST]
        run.log_predictions(rows, step=checkpoint, scores=["short"])

frame = timelapse.load_predictions("own-inference")
print(frame.pivot(index="prompt", columns="step", values="prediction"))
print(frame.groupby("step")[["exact_match", "short"]].mean())
print(frame[frame["status"] == "error"][["step", "prompt", "error"]])
