"""A training is the same with and without the callback, bit for bit, whatever MLflow does."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
import pytest
from faults import FaultProxy
from identity import assert_same, left_by
from peft import LoraConfig, get_peft_model
from servers import MlflowServer
from tiny import make_gpt2, make_samples, make_tokenizer, training_set
from transformers import (
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from timelapse import start_run
from timelapse_training import PredictionsCallback

DECODING = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 6, "batch_size": 3}


def train(folder: Path, callbacks: list[Any], *, lora: bool, checkpointing: bool) -> dict[str, Any]:
    """Train a GPT-2 with dropout 0.1 everywhere, and return all that the training left behind."""
    set_seed(3)
    model: Any = make_gpt2(dropout=0.1)
    if lora:
        model = get_peft_model(
            model, LoraConfig(r=4, lora_dropout=0.1, target_modules=["c_attn"], fan_in_fan_out=True)
        )
        model.enable_input_require_grads()
    tokenizer = make_tokenizer()
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=3,
        disable_tqdm=True,
        activation_checkpointing=checkpointing,
    )
    trainer = Trainer(
        model,
        args=arguments,
        train_dataset=training_set(tokenizer),
        # A collator that draws from torch's generator at every batch, as masking and augmentation do.
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.train()
    return left_by(trainer)


def refusing_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Returns what a training without callback leaves; made twice, else comparing would prove nothing."""

    @cache
    def made(lora: bool = False, checkpointing: bool = False) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("bare")
        first, again = (
            train(folder / name, [], lora=lora, checkpointing=checkpointing) for name in ("first", "again")
        )
        assert_same(first, again)
        return first

    return made


@pytest.mark.parametrize("server", ["up", "refusing"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_losses_weights_and_random_state_are_the_same(
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
    bare: Callable[..., dict[str, Any]],
    lora: bool,
    checkpointing: bool,
    server: str,
) -> None:
    before = mlflow.get_tracking_uri()
    if server == "refusing":
        mlflow.set_tracking_uri(f"http://127.0.0.1:{refusing_port()}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that the server refuses is said; tested elsewhere
            callback = PredictionsCallback(
                make_samples(), sample_frequency="steps", step_interval=2, **DECODING
            )
            watched = train(tmp_path / "watched", [callback], lora=lora, checkpointing=checkpointing)
    finally:
        mlflow.set_tracking_uri(before)

    assert_same(bare(lora, checkpointing), watched)
    stored = sorted(path.name for path in (tmp_path / "mlruns").rglob("round-*.parquet"))
    waiting = sorted(path.name for path in (tmp_path / "spool").rglob("*-round-*"))
    if server == "up":
        assert stored == [f"round-{step:08d}.parquet" for step in (0, 2, 4, 6, 8, 10, 12)]
        assert not waiting
    else:
        assert (len(stored), len(waiting)) == (0, 7)


class Heal(TrainerCallback):
    """Lets the server recover in the middle of the training."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 6:
            self.proxy.heal()


@pytest.mark.parametrize("fault", ["status", "reset_response", "refuse"])
@pytest.mark.parametrize("recovers", [False, True], ids=["never", "back later"])
def test_a_server_that_fails_while_the_training_runs_changes_nothing(
    mlflow_server: MlflowServer,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
    bare: Callable[..., dict[str, Any]],
    fault: Any,
    recovers: bool,
) -> None:
    """The run is open when the server begins to fail, so that the background thread meets every failure."""
    with FaultProxy(mlflow_server.uri) as proxy, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with start_run("watched", tracking_uri=proxy.uri) as run:
            run.flush()
            proxy.fault(fault, 500)
            callback = PredictionsCallback(
                make_samples(), run=run, sample_frequency="steps", step_interval=2, **DECODING
            )
            others = [Heal(proxy)] if recovers else []
            watched = train(tmp_path / "watched", [callback, *others], lora=False, checkpointing=False)
    assert_same(bare(), watched)
    stored = mlflow.MlflowClient(mlflow_server.uri).list_artifacts(str(run.run_id), "timelapse")
    rounds = sum("/round-" in file.path for file in stored)
    assert rounds == (7 if recovers else 0)
