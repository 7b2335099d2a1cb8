"""The example of JSON answers: its files agree with each other, and its configuration finds them."""

from __future__ import annotations

import json
from pathlib import Path

from timelapse import load_samples
from timelapse.config.file import load_config
from timelapse.scoring.validators import make_validators

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "countries_json"


def test_every_reference_passes_the_schema_and_no_country_is_in_both_files() -> None:
    config = load_config(FOLDER / "train.yaml").config
    [validator] = make_validators(config.predictions.validators).values()
    train, held_out = (load_samples(FOLDER / name) for name in ("train.jsonl", "eval.jsonl"))
    assert (len(train), len(held_out)) == (120, 24)
    for sample in (*train, *held_out):
        assert sample.reference is not None
        assert validator.validate(sample.reference).passed, sample.prompt
    assert not {sample.sample_id for sample in train} & {sample.sample_id for sample in held_out}


def test_the_schema_refuses_what_is_not_asked_for() -> None:
    config = load_config(FOLDER / "train.yaml").config
    [validator] = make_validators(config.predictions.validators).values()
    facts = {"capital": "Lima", "continent": "South America", "currency": "sol"}
    assert validator.validate(json.dumps(facts)).passed
    [finding] = validator.validate(json.dumps({**facts, "continent": "Atlantis"})).errors
    assert finding.path == "$.continent"
    assert not validator.validate(json.dumps({**facts, "population": 3})).passed
    assert not validator.validate("null").passed
