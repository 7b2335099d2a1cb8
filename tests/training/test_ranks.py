"""Trainings of two ranks, started by torchrun: each answers its part, and none waits for one that failed.

A start takes as long as importing everything twice, so that one start makes all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import torch
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from peft import PeftModel
from tiny import QUESTIONS, greedy_oracle, make_llama, make_samples, make_tokenizer
from transformers import AutoModelForCausalLM, TrainingArguments
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from timelapse import names
from timelapse_training import GenerationSettings, roll_call
from timelapse_training.distributed import Alone
from timelapse_training.sharding import refusal, shortage

SCRIPT = Path(__file__).parents[1] / "support" / "ranks_training.py"
SECONDS = 540
TOKENS = 6
SCENARIOS = (
    *("full", "lora", "failing_rank", "failing_leader", "unknown_run", "no_tokenizer", "agreement"),
    *("only_rank_0", "only_rank_1", "vanishing_rank", "failing_store"),
    "configured",
    *("fsdp1", "fsdp2", "lora_fsdp2", "failing_rank_fsdp1", "failing_rank_fsdp2"),
)

pytestmark = pytest.mark.timeout(SECONDS + 60)


@dataclass(frozen=True)
class Left:
    """What a scenario left behind."""

    folder: Path
    met: tuple[dict[str, Any], dict[str, Any]]

    def runs(self) -> list[Any]:
        client = mlflow.MlflowClient(f"sqlite:///{self.folder / 'mlflow.db'}")
        return list(client.search_runs(["0"]))

    def rounds(self) -> dict[int, pd.DataFrame]:
        frames = [pd.read_parquet(file) for file in self.folder.rglob("round-*.parquet")]
        return {int(frame["step"][0]): frame for frame in sorted(frames, key=lambda frame: frame["step"][0])}


def start(folder: Path, empty_store: Path, scenarios: tuple[str, ...]) -> Path:
    shutil.copy(empty_store, folder / "empty.db")
    with sqlite3.connect(folder / "empty.db") as database:
        database.execute("UPDATE experiments SET artifact_location = 'mlruns/0'")
    database.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    roots = [Path(__file__).parents[2] / root for root in ("tracker", "training", "tests/support")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["--master_addr=127.0.0.1", f"--master_port={port}", str(SCRIPT), str(folder), *scenarios]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, roots)), "OMP_NUM_THREADS": "1"},
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its children
            process.wait(30)
            code = None
    assert code == 0, f"torchrun {'hung' if code is None else 'failed'}:\n{log.read_text()[-8000:]}"
    return folder


@pytest.fixture(scope="module")
def trainings(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start(tmp_path_factory.mktemp("ranks"), empty_store, SCENARIOS)


@pytest.fixture
def left(request: pytest.FixtureRequest, trainings: Path) -> Left:
    folder = trainings / request.param
    return Left(folder, tuple(json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)))


def answers_of(checkpoint: Path) -> list[str]:
    """What saved weights answer in one process, one sample at a time, with none of our code."""
    model: Any
    if (checkpoint / "adapter_model.safetensors").exists():
        model = PeftModel.from_pretrained(make_llama(), str(checkpoint)).eval()
    else:
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
    tokenizer = make_tokenizer()
    texts = []
    for question in QUESTIONS:
        ids = tokenizer(f"<user>{question}<end><assistant>", add_special_tokens=False)["input_ids"]
        texts.append(tokenizer.decode(greedy_oracle(model, ids, TOKENS)[0], skip_special_tokens=True))
    return texts


def bytes_below(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


WRAPPERS = {
    "full": "DistributedDataParallel",
    "lora": "DistributedDataParallel",
    "fsdp1": "FullyShardedDataParallel",
    "fsdp2": "FSDPLlamaForCausalLM",
    "lora_fsdp2": "FSDPPeftModel",
}
"""What the trainer trained with: without it the tests would prove something else."""


@pytest.mark.parametrize("left", WRAPPERS, indirect=True)
def test_two_ranks_answer_as_one_does(left: Left) -> None:
    """The texts, the order of the samples, and each sample once, as the saved weights answer alone."""
    assert [met["wrapped"] for met in left.met] == [WRAPPERS[left.folder.name]] * 2
    rounds = left.rounds()
    assert list(rounds) == [0, 2, 4, 6]
    ids = [sample.sample_id for sample in make_samples()]
    for step, frame in rounds.items():
        assert frame["sample_id"].tolist() == ids
        assert frame["status"].tolist() == ["ok"] * 5
        if step:
            checkpoint = left.folder / "watched" / f"checkpoint-{step}"
            assert frame["prediction"].tolist() == answers_of(checkpoint)
    assert len({tuple(frame["prediction"]) for frame in rounds.values()}) > 1, "training changed the answers"


@pytest.mark.parametrize("left", WRAPPERS, indirect=True)
def test_checkpoints_are_the_same_bytes_with_and_without_the_callback(left: Left) -> None:
    """Weights, optimiser, scheduler, random generators of both ranks, trainer state, all of it."""
    for step in (2, 4, 6):
        bare, watched = (
            bytes_below(left.folder / name / f"checkpoint-{step}") for name in ("bare", "watched")
        )
        assert {"rng_state_0.pth", "rng_state_1.pth", "scheduler.pt", "trainer_state.json"} <= bare.keys()
        assert bare.keys() & {"model.safetensors", "adapter_model.safetensors"}
        assert bare.keys() & {"optimizer.pt", "optimizer.bin", "optimizer_0/__1_0.distcp"}
        assert watched.keys() - bare.keys() == {"timelapse.json"}
        differ = {Path(name).name for name in bare if bare[name] != watched[name]}
        assert differ <= {"training_args.bin", ".metadata"}  # they hold the folder's name
    assert [met["own_state"] for met in left.met] == [["TrainerControl"]] * 2


@pytest.mark.parametrize("left", WRAPPERS, indirect=True)
def test_there_is_one_run_and_no_process_group_is_left(left: Left) -> None:
    [run] = left.runs()
    assert (run.info.status, run.data.tags[names.TAG_STATUS]) == ("FINISHED", "finished")
    assert run.data.tags[names.TAG_ROUNDS] == "4"
    assert [met["warnings"] for met in left.met] == [[], []]
    assert [met["groups_left"] for met in left.met] == [0, 0]


@pytest.mark.parametrize(
    ("left", "failing", "missing"),
    [
        ("failing_rank", 1, [1, 3]),
        ("failing_leader", 0, [0, 2, 4]),
        ("failing_rank_fsdp1", 1, [1, 3]),
        ("failing_rank_fsdp2", 1, [1, 3]),
    ],
    indirect=["left"],
)
def test_a_rank_that_fails_leaves_rows_and_nobody_waits(left: Left, failing: int, missing: list[int]) -> None:
    assert [met["steps"] for met in left.met] == [6, 6]
    rounds = left.rounds()
    assert list(rounds) == [0, 2, 4, 6]
    for step, frame in rounds.items():
        failed = missing if step > 3 else []
        assert frame.index[frame["status"] == "error"].tolist() == failed
        assert set(frame["error"][failed]) <= {f"RuntimeError: no inference on rank {failing}"}
    assert left.met[1]["warnings"] == []
    [warning] = left.met[0]["warnings"]
    assert f"{len(missing)} of 5 at step 4, first RuntimeError: no inference on rank {failing}" in warning
    [run] = left.runs()
    assert run.data.tags[names.TAG_STATUS].startswith("degraded")


@pytest.mark.parametrize("left", ["configured"], indirect=True)
def test_a_configured_training_of_two_ranks_is_one_run(left: Left) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{left.folder / 'mlflow.db'}")
    [run] = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert [met["run"] for met in left.met] == [run.info.run_id, None]
    assert (run.info.status, run.data.tags[names.TAG_STATUS]) == ("FINISHED", "finished")
    assert {step: len(frame) for step, frame in left.rounds().items()} == {0: 5, 2: 5, 4: 5}
    assert "loss" in run.data.metrics
    assert (left.folder / "out" / "final" / "model.safetensors").is_file()


@pytest.mark.parametrize("left", ["failing_store"], indirect=True)
def test_a_store_that_fails_on_rank_0_stops_no_rank(left: Left) -> None:
    assert [met["steps"] for met in left.met] == [6, 6]
    assert left.met[0]["warnings"], "rank 0 says what it lost"
    assert left.met[1]["warnings"] == []


@pytest.mark.parametrize(
    ("left", "error"),
    [
        ("unknown_run", "RunError: "),
        ("no_tokenizer", "ConfigError: The trainer has no tokenizer to answer with"),
    ],
    indirect=["left"],
)
def test_a_mistake_met_on_rank_0_is_an_error_on_every_rank(left: Left, error: str) -> None:
    first, second = (met["error"] for met in left.met)
    assert first.startswith(error)
    assert second.startswith(f"RanksError: Rank 0 could not begin the predictions: {error}")
    assert left.runs() == []


@pytest.mark.parametrize("left", ["agreement"], indirect=True)
def test_what_rank_0_finds_reaches_every_rank(left: Left) -> None:
    first, second = left.met
    assert (first["session"], second["session"]) == ("session", None)
    assert (first["failed"], second["failed"]) == ("the leader fails", "None")
    assert (first["told"], second["told"]) == (None, {})
    assert first["numbers"] == second["numbers"] == {"exact_match": 0.25}
    assert first["none"] == second["none"] == [None, None]


@pytest.mark.parametrize("left", ["only_rank_0"], indirect=True)
def test_a_callback_on_rank_0_alone_answers_alone_and_says_so(left: Left) -> None:
    assert [met["steps"] for met in left.met] == [6, 6]
    assert [frame["status"].tolist() for frame in left.rounds().values()] == [["ok"] * 5] * 4
    [warning] = left.met[0]["warnings"]
    assert "rank 1 has no PredictionsCallback: give it to the trainer on every rank" in warning
    assert warning.endswith("Rank 0 answers alone. The training goes on.")


@pytest.mark.parametrize("left", ["only_rank_1"], indirect=True)
def test_a_callback_that_rank_0_lacks_makes_no_predictions(left: Left) -> None:
    assert [met["steps"] for met in left.met] == [6, 6]
    assert left.runs() == []
    [warning] = left.met[1]["warnings"]
    assert "rank 0 has no PredictionsCallback" in warning


@pytest.mark.parametrize("left", ["vanishing_rank"], indirect=True)
def test_a_rank_that_no_longer_answers_is_not_waited_for_again(left: Left) -> None:
    """The round in which it is missed holds errors in its place; from then on rank 0 answers everything."""
    assert [met["steps"] for met in left.met] == [6, 6]
    rounds = left.rounds()
    assert {step: frame["status"].tolist() for step, frame in rounds.items()} == {
        0: ["ok"] * 5,
        2: ["ok"] * 5,
        4: ["ok", "error", "ok", "error", "ok"],
        6: ["ok"] * 5,
    }
    assert rounds[4]["error"][1].startswith("RanksError: the rank that had this sample did not answer: ")
    assert sum("Talking to the other ranks failed" in warning for warning in left.met[0]["warnings"]) == 1


@pytest.fixture
def zero3() -> Iterator[None]:
    config = HfDeepSpeedConfig({"zero_optimization": {"stage": 3}})
    set_hf_deepspeed_config(config)  # a weak reference
    yield
    unset_hf_deepspeed_config()


@pytest.mark.usefixtures("zero3")
def test_zero_3_is_refused_with_what_to_do(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert refusal(args, make_llama()) == (
        "DeepSpeed ZeRO-3 keeps the weights in pieces that cannot be put together for a round; use ZeRO-2 or "
        "FSDP, or answer from the saved checkpoints afterwards"
    )


def test_only_what_cannot_answer_is_refused(tmp_path: Path) -> None:
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    model: Any = make_llama()
    assert refusal(args, model) is None
    model._tp_size = 2
    assert str(refusal(args, model)).startswith("tensor parallelism splits each layer over the ranks")


def test_weights_that_do_not_fit_on_one_rank_are_refused_by_all() -> None:
    gib = 2**30
    assert shortage(10 * gib, [12.0 * gib, 12.0 * gib]) is None
    assert shortage(10 * gib, [float("inf"), 10.5 * gib]) == (
        "the whole weights take 10.0 GiB and rank 1 has 10.5 GiB free; answer from the saved checkpoints "
        "afterwards"
    )


def test_the_first_verdict_of_a_roll_call_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 comes when rank 1 has given up: it obeys, instead of waiting for it; the next time, too."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(roll_call, "VERDICT_SECONDS", 0.05)
    registers = {rank: roll_call._Register() for rank in (0, 1)}
    said = []
    for rank in (1, 0, 0, 1):
        monkeypatch.setattr(roll_call, "register", registers[rank])
        said.append(roll_call.missing_ranks(store, rank, 2))
    assert said == ["rank 0 has no PredictionsCallback: give it to the trainer on every rank"] * 4


def test_one_process_answers_alone() -> None:
    tokenizer = make_tokenizer()
    settings = GenerationSettings(max_new_tokens=2)
    round_ = Alone().generate(make_llama(), tokenizer, make_samples(), settings, step=3)
    assert (round_.step, len(round_.answered)) == (3, 5)
    assert Alone().together(lambda: {"exact_match": 0.5}, None) == {"exact_match": 0.5}
