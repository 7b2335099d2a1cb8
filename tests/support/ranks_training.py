"""Trainings of several ranks, started by torchrun: `ranks_training.py FOLDER SCENARIO...`.

Each scenario trains in FOLDER/SCENARIO, and leaves there what each rank met: rank-0.json, rank-1.json.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from cpu_fsdp import CpuFsdpTrainer, fsdp_arguments
from peft import LoraConfig, get_peft_model
from projects import VERBS, make_project, questions
from tiny import make_llama, make_samples, make_tokenizer, training_set
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from warm import collect_seldom, leave_imports_alone

import timelapse_training
from timelapse.config.file import load_config
from timelapse.errors import TimelapseError
from timelapse.fence import Fence, attempt
from timelapse_training import PredictionsCallback, meeting, roll_call

RANK = int(os.environ["RANK"])
TOKENS = 6


class BreaksGeneration(TrainerCallback):
    """Makes every forward pass in evaluation mode fail on one rank, from a step on."""

    def __init__(self, rank: int, step: int) -> None:
        self.rank, self.step = rank, step

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self.step and self.rank == RANK:

            def fail(module: Any, inputs: Any) -> None:
                if not module.training:
                    raise RuntimeError(f"no inference on rank {RANK}")

            list(model.modules())[-2].register_forward_pre_hook(fail)


class BreaksStore(TrainerCallback):
    """Takes rank 0's spool and database away in the middle of the training."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3 and RANK == 0:
            spool = Path(os.environ["TIMELAPSE_SPOOL"])
            shutil.rmtree(spool)
            spool.write_text("no folder any more")
            Path(args.output_dir, "..", "mlflow.db").write_bytes(b"no database any more" * 1000)


class Vanishes(TrainerCallback):
    """Takes the callback away from rank 1 in the middle of the training."""

    def __init__(self, ours: PredictionsCallback) -> None:
        self.ours = ours

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3 and RANK == 1:
            self.ours._ranks = None


def ours(**settings: Any) -> PredictionsCallback:
    defaults = {"sample_frequency": "steps", "step_interval": 2, "max_new_tokens": TOKENS, "batch_size": 2}
    return PredictionsCallback(make_samples(), **defaults | settings)


def train(folder: Path, *callbacks: TrainerCallback, lora: bool = False, **options: Any) -> Trainer:
    set_seed(3)
    tokenizer = make_tokenizer()
    model: Any = make_llama(attention_dropout=0.1)
    if lora:
        model = get_peft_model(model, LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"]))
    with_tokenizer = options.pop("with_tokenizer", True)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        save_strategy="steps",
        save_steps=2,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
        **options,
    )
    kind = CpuFsdpTrainer if arguments.fsdp else Trainer
    trainer = kind(
        model,
        args=arguments,
        train_dataset=training_set(tokenizer, 48),
        processing_class=tokenizer if with_tokenizer else None,
        callbacks=list(callbacks),
    )
    trainer.train()
    return trainer


def compared(folder: Path, **options: Any) -> dict[str, Any]:
    train(folder / "bare", **options)
    trainer = train(folder / "watched", ours(), **options)
    wrapped = type(trainer.model_wrapped).__name__
    return {"wrapped": wrapped, "own_state": sorted(trainer.state.stateful_callbacks)}


def full(folder: Path) -> Any:
    return compared(folder)


def lora(folder: Path) -> Any:
    return compared(folder, lora=True)


def lora_fsdp2(folder: Path) -> Any:
    return compared(folder, lora=True, **fsdp_arguments(2))


def fsdp1(folder: Path) -> Any:
    return compared(folder, **fsdp_arguments(1))


def fsdp2(folder: Path) -> Any:
    return compared(folder, **fsdp_arguments(2))


def failing_rank(folder: Path) -> Any:
    return steps(train(folder / "out", BreaksGeneration(1, 3), ours()))


def failing_leader(folder: Path) -> Any:
    return steps(train(folder / "out", BreaksGeneration(0, 3), ours()))


def failing_rank_fsdp1(folder: Path) -> Any:
    return steps(train(folder / "out", BreaksGeneration(1, 3), ours(), **fsdp_arguments(1)))


def failing_rank_fsdp2(folder: Path) -> Any:
    return steps(train(folder / "out", BreaksGeneration(1, 3), ours(), **fsdp_arguments(2)))


def failing_store(folder: Path) -> Any:
    return steps(train(folder / "out", BreaksStore(), ours()))


def unknown_run(folder: Path) -> Any:
    callback = PredictionsCallback(make_samples(), run_id="0123456789abcdef0123456789abcdef")
    return steps(train(folder / "out", callback))


def no_tokenizer(folder: Path) -> Any:
    return steps(train(folder / "out", ours(), with_tokenizer=False))


def only_rank_0(folder: Path) -> Any:
    roll_call.PRESENT_SECONDS = 1.0
    return steps(train(folder / "out", *[ours()] * (RANK == 0)))


def only_rank_1(folder: Path) -> Any:
    roll_call.VERDICT_SECONDS = 1.0
    return steps(train(folder / "out", *[ours()] * (RANK == 1)))


def vanishing_rank(folder: Path) -> Any:
    callback = ours()
    return steps(train(folder / "out", Vanishes(callback), callback, ddp_timeout=5))


def agreement(folder: Path) -> Any:
    """What rank 0 alone knows reaches every rank; if it fails over it, the others go on."""
    ranks, session = meeting.open_on_ranks(lambda ranks: "session", make_tokenizer, Fence(), patience=60)
    assert ranks is not None

    def fail() -> None:
        raise TimelapseError("the leader fails")

    told, error = attempt(lambda: ranks.together(fail, None))
    numbers = ranks.together(lambda: {"exact_match": 0.25}, None)
    ranks.close()
    none = meeting.open_on_ranks(lambda ranks: None, make_tokenizer, Fence(), patience=60)
    return {"numbers": numbers, "session": session, "told": told, "failed": str(error), "none": none}


def configured(folder: Path) -> Any:
    """What `timelapse train` does, under torchrun."""
    if RANK == 0:
        verbs = questions(VERBS)
        asked = {"max_new_tokens": 3, "samples_from": "train"}
        make_project(folder, verbs, verbs[:3], predictions=asked, logging_steps=1)
    dist.barrier()
    run = timelapse_training.train(load_config(folder / "config.yaml").config)
    return {"run": run.run_id if run else None}


def steps(trainer: Trainer) -> dict[str, Any]:
    return {"steps": trainer.state.global_step}


def met(scenario: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """Run a scenario in its own MLflow, and return what this rank met."""
    if RANK == 0:
        folder.mkdir()
        shutil.copy(folder.parent / "empty.db", folder / "mlflow.db")
    dist.barrier()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["TIMELAPSE_SPOOL"] = str(folder / "spool")
    os.chdir(folder)
    found: dict[str, Any] = {"error": None}
    groups = len(dist.distributed_c10d._world.pg_map)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            found |= scenario(folder)
        except TimelapseError as error:  # any other ends this process, and torchrun the others
            found["error"] = f"{type(error).__name__}: {error}"
    ours = [str(each.message) for each in said if each.category.__name__ == "TimelapseWarning"]
    left = len(dist.distributed_c10d._world.pg_map) - groups
    return {**found, "warnings": ours, "groups_left": left}


def main() -> None:
    folder = Path(sys.argv[1])
    os.environ["TIMELAPSE_CLOSE_SECONDS"] = "2"
    faulthandler.dump_traceback_later(
        float(os.environ.get("RANKS_SECONDS", "240"))
    )  # shows where a rank hangs
    dist.init_process_group("gloo")
    collect_seldom()
    leave_imports_alone()
    for place, name in enumerate(sys.argv[2:]):
        # each scenario is a program of its own, as far as the roll call is concerned
        roll_call.register = roll_call._Register(calls=100 * place)
        roll_call.PRESENT_SECONDS, roll_call.VERDICT_SECONDS = 60.0, 60.0
        found = met(globals()[name], folder / name)
        (folder / name / f"rank-{RANK}.json").write_text(json.dumps(found))
        print(f"rank {RANK}: {name} done: {found}", flush=True)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
