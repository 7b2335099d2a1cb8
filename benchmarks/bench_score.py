"""What judging a round costs, against sacreBLEU's chrF alone, and what a training beside it notices.

python benchmarks/bench_score.py --rows 1000 --words 60
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable

import torch
from sacrebleu.metrics import CHRF

from timelapse.rounds import Prediction, Round
from timelapse.scoring.builtin import SCORERS
from timelapse.scoring.engine import DEFAULT_SCORERS, Judges, Pace, Question, judge
from timelapse.scoring.scorer import make_scorers
from timelapse.writing.uploader import rest_after

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def texts(rows: int, words: int, seed: int) -> list[tuple[str, str]]:
    """Return pairs of prediction and reference: the reference with a third of its words replaced."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(2_000)]
    pairs = []
    for _ in range(rows):
        reference = rng.choices(vocabulary, k=words)
        answer = [rng.choice(vocabulary) if rng.random() < 1 / 3 else word for word in reference]
        pairs.append((" ".join(answer), " ".join(reference)))
    return pairs


def judging(pairs: list[tuple[str, str]], scorers: list[str], pace: Pace | None = None) -> Callable[[], None]:
    judges = Judges(make_scorers(scorers), {})
    rows = tuple(
        Prediction(str(place), answer, finish_reason="stop") for place, (answer, _) in enumerate(pairs)
    )
    questions = {
        str(place): Question(f"Say it, number {place}.", reference)
        for place, (_, reference) in enumerate(pairs)
    }
    base = Round(0, tuple(Prediction(row.sample_id, row.prediction) for row in rows))
    return lambda: expect(judge(Round(1, rows), questions, judges, base, pace)[0], len(pairs))


def expect(round_: Round, rows: int) -> None:
    assert len([row for row in round_.predictions if row.scores]) == rows


def chrf_alone(pairs: list[tuple[str, str]]) -> Callable[[], None]:
    metric = CHRF()

    def score() -> None:
        for answer, reference in pairs:
            metric.sentence_score(answer, [reference])

    return score


def best_of(call: Callable[[], None], fresh: Callable[[], None], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        fresh()
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def forget() -> None:
    """Empty the caches of the scorers, which would otherwise have seen all texts before."""
    from timelapse.scoring import scorers, texts

    scorers.normalise.cache_clear()
    texts._tokens.cache_clear()


def training_step() -> Callable[[], None]:
    """Return a step of a small training on the processor."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024) for _ in range(6)))
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.randn(64, 1024)

    def step() -> None:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()

    return step


def step_seconds(step: Callable[[], None], count: int) -> float:
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def in_flight(pairs: list[tuple[str, str]], blocks: int) -> tuple[float, float]:
    """Return the median seconds of a training step alone, and while a thread judges rounds all the time."""
    torch.set_num_threads(1)

    def pace(seconds: float) -> None:  # as the uploader does while a training runs
        time.sleep(rest_after(seconds))

    step, call = training_step(), judging(pairs, list(DEFAULT_SCORERS), pace)
    step_seconds(step, 5)
    alone, beside = [], []
    for _ in range(blocks):  # in turn, so that a busy machine harms both alike
        alone.append(step_seconds(step, 15))
        over = threading.Event()

        def work(over: threading.Event = over) -> None:
            while not over.is_set():
                call()

        thread = threading.Thread(target=work)
        thread.start()
        beside.append(step_seconds(step, 15))
        over.set()
        thread.join()
    return statistics.median(alone), statistics.median(beside)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--words", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows, words = options.rows, options.words
    pairs = texts(rows, words, 0)
    everything = [name for name in SCORERS if name != "regex_match"]  # random words are no patterns

    def seconds(call: Callable[[], None]) -> float:
        return best_of(call, forget, options.repeats)

    chrf = seconds(chrf_alone(pairs))
    default = seconds(judging(pairs, list(DEFAULT_SCORERS)))
    whole = seconds(judging(pairs, everything))
    more_rows = seconds(judging(texts(4 * rows, words, 1), list(DEFAULT_SCORERS)))
    more_words = seconds(judging(texts(rows, 4 * words, 2), list(DEFAULT_SCORERS)))
    alone, beside = in_flight(pairs, 6)
    print(f"{rows} answers of {words} words, best of {options.repeats}")
    lines = [
        ("sacreBLEU's chrF alone", chrf, None, ""),
        ("default scorers and health", default, default / chrf, "<= 2"),
        (f"all {len(everything)} text scorers and health", whole, whole / chrf, ""),
        ("four times the rows", more_rows, more_rows / default, "linear: 4"),
        ("four times the words", more_words, more_words / default, "linear: 4"),
        ("a training step, nothing beside it", alone, None, ""),
        ("a training step, judging beside it", beside, beside / alone, "<= 1.05"),
    ]
    for name, value, ratio, target in lines:
        print(f"  {name:36} {value * 1000:9.1f} ms {'' if ratio is None else f'{ratio:7.2f}'}  {target}")


if __name__ == "__main__":
    main()
