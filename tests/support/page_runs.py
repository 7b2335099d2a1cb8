"""Stored runs to look at: a few trainings on irregular verbs, as a writer would have left them in MLflow."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from payloads import payloads
from stored_runs import finished_files, round_files, store_run

from timelapse import Prediction, Round, Sample, SampleSet, names
from timelapse.scoring.scorers import edit_similarity, exact_match

if TYPE_CHECKING:
    from collections.abc import Mapping

    import mlflow

VERBS = {
    "gut": "gutted, gutted", "meet": "met, met", "slink": "slunk, slunk", "forsake": "forsook, forsaken",
    "rebut": "rebutted, rebutted", "arise": "arose, arisen", "beget": "begot, begotten",
    "bid": "bade, bidden", "breed": "bred, bred", "cling": "clung, clung", "creep": "crept, crept",
    "dwell": "dwelt, dwelt", "flee": "fled, fled", "forget": "forgot, forgotten",
    "grind": "ground, ground", "hew": "hewed, hewn", "kneel": "knelt, knelt", "lead": "led, led",
    "mow": "mowed, mown", "rend": "rent, rent", "rid": "rid, rid", "seek": "sought, sought",
    "shear": "sheared, shorn", "shrink": "shrank, shrunk", "smite": "smote, smitten",
    "strive": "strove, striven", "swell": "swelled, swollen", "thrive": "throve, thriven",
    "tread": "trod, trodden", "weave": "wove, woven", "weep": "wept, wept", "wring": "wrung, wrung",
}  # fmt: skip

STEPS = (0, 20, 40, 60)


def verb_samples(verbs: Mapping[str, str] = VERBS) -> SampleSet:
    """Questions for past tense and participle; every fourth is tagged as hard."""
    return SampleSet(
        tuple(
            Sample(
                ({"role": "user", "content": f"Past tense and participle of “{verb}”"},),
                reference=forms,
                tags=("hard",) if place % 4 == 0 else (),
                metadata={"ending": forms[-2:]},
            )
            for place, (verb, forms) in enumerate(verbs.items())
        )
    )


def training(samples: SampleSet, skill: float, *, seed: int, steps: tuple[int, ...] = STEPS) -> list[Round]:
    """Rounds in which more and more answers are right, up to a share of `skill`; one answer fails."""
    return [
        _round(samples, step, skill * min(1, step / 40), random.Random(f"{seed} {step}")) for step in steps
    ]


def _round(samples: SampleSet, step: int, skill: float, chance: random.Random) -> Round:
    rows = []
    for place, sample in enumerate(samples):
        reference = sample.reference or ""
        verb = sample.prompt.split("“")[-1].rstrip("”")
        wrong = (
            f"The past tense of the verb “{verb}” is “{verb}ed” in this"
            if step == 0
            else f"{verb}ed, {verb}ed"
        )
        # The same samples are easy in every run, so that runs agree on most of them.
        easy = random.Random(place).random()
        text = reference if easy * 0.8 + chance.random() * 0.2 < skill else wrong
        if step == 40 and place == 5:
            rows.append(Prediction(sample.sample_id, status="error", error="ValueError: <b>no</b> answer"))
            continue
        scores = {
            "exact_match": exact_match(text, reference),
            "edit_similarity": edit_similarity(text, reference),
        }
        loss = 3.5 - 2.5 * skill + 0.2 * chance.random()
        rows.append(Prediction(sample.sample_id, text, scores=scores, reference_nll=loss, seconds=0.05))
    return Round(step, tuple(rows), epoch=step / 20, trigger="epoch" if step else "baseline")


def store_training(
    client: mlflow.MlflowClient, experiment_id: str, name: str, samples: SampleSet, rounds: list[Round]
) -> str:
    """Store a finished training; return its run's id."""
    files = finished_files([samples], round_files(rounds))
    run_id = store_run(client, experiment_id, files, name=name)
    client.set_tag(run_id, names.TAG_STATUS, "finished")
    client.set_tag(run_id, names.TAG_ROUNDS, str(len(rounds)))
    return run_id


def three_trainings(client: mlflow.MlflowClient, experiment_id: str) -> dict[str, str]:
    """Store the runs lora-r16, lora-r4 and full; return their ids by name."""
    samples = verb_samples()
    skills = {"lora-r16": 0.55, "lora-r4": 0.4, "full": 0.68}
    return {
        name: store_training(client, experiment_id, name, samples, training(samples, skill, seed=place))
        for place, (name, skill) in enumerate(skills.items())
    }


def live_training(client: mlflow.MlflowClient, experiment_id: str) -> str:
    """Store a training that has not ended."""
    samples = verb_samples()
    rounds = training(samples, 0.5, seed=9, steps=(0, 20))
    run_id = store_training(client, experiment_id, "still-training", samples, rounds)
    client.set_tag(run_id, names.TAG_STATUS, "live")
    client.delete_tag(run_id, names.TAG_MANIFEST)
    client.update_run(run_id, "RUNNING")
    return run_id


def hostile_pair(client: mlflow.MlflowClient, experiment_id: str) -> tuple[str, str]:
    """Store two runs in which every text of a model, a file or a user is a payload."""
    texts = payloads()
    samples = SampleSet(
        tuple(
            Sample(
                ({"role": "user", "content": text},),
                reference=texts[-place],
                tags=(text[:60],),
                metadata={text[:40]: text},
            )
            for place, text in enumerate(texts)
        )
    )
    stored = []
    for shift in (1, 2):
        rows = [
            Prediction(
                sample.sample_id,
                texts[(place + shift) % len(texts)],
                scores={"exact_match": float(place % shift)},
            )
            for place, sample in enumerate(samples)
        ]
        rows[0] = Prediction(samples[0].sample_id, status="error", error=texts[0])
        name = f"{texts[shift]} {shift}"
        stored.append(
            store_training(
                client, experiment_id, name, samples, [Round(0, tuple(rows)), Round(9, tuple(rows))]
            )
        )
    return stored[0], stored[1]
