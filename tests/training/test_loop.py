"""Rounds in a loop without a trainer: the same training, the promised rounds, and no error into the loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from cells import BF16, FP16, FP32, LOOP_TEST, ONE_RANK, Cell
from identity import assert_same, next_numbers
from tiny import make_gpt2, make_llama, make_samples, make_tokenizer, training_set
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from trainers import only_run
from transformers import GPT2ForSequenceClassification, set_seed

from timelapse import TimelapseWarning, load_predictions, names, start_run
from timelapse.errors import ConfigError
from timelapse_training import PredictionRounds

DECODING: dict[str, Any] = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 6, "batch_size": 3}

AUTOCAST = {FP32: None, BF16: torch.bfloat16, FP16: torch.float16}


def batches() -> Iterator[dict[str, torch.Tensor]]:
    """Eight batches: two passes over sixteen rows."""
    rows = training_set(make_tokenizer()).with_format("torch")
    for _epoch in range(2):
        yield from torch.utils.data.DataLoader(rows, batch_size=4, shuffle=True)


def train(autocast: torch.dtype | None = None, **settings: Any) -> tuple[dict[str, Any], list[int]]:
    """A loop as one writes it; with `settings` it is watched."""
    set_seed(3)
    model = make_gpt2(dropout=0.1).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses, made = [], []

    def learn(batch: dict[str, torch.Tensor]) -> None:
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    if settings:
        with PredictionRounds(
            make_samples(), model, make_tokenizer(), autocast=autocast, **DECODING, **settings
        ) as rounds:
            for step, batch in enumerate(batches(), start=1):
                learn(batch)
                made += [step] * rounds.maybe(step, epoch=step / 4)
    else:
        for batch in batches():
            learn(batch)
    left = {
        "losses": losses,
        "weights": model.state_dict(),
        "optimizer": optimizer.state_dict()["state"],
        "modes": [module.training for module in model.modules()],
        **next_numbers(),
    }
    return left, made


def make_rounds(model: Any = None, **settings: Any) -> PredictionRounds:
    return PredictionRounds(
        make_samples(), model or make_llama(), make_tokenizer(), **{"max_new_tokens": 2, **settings}
    )


def stored(run_id: str | None) -> dict[int, tuple[str, float]]:
    """Trigger and epoch of each round, by its step."""
    frame = load_predictions(str(run_id))
    assert frame["status"].eq("ok").all()
    assert frame.groupby("step").size().eq(5).all()
    return {row.step: (row.trigger, row.epoch) for row in frame.itertuples()}


@pytest.mark.parametrize(
    "cell", [cell for cell in ONE_RANK if cell.test == LOOP_TEST], ids=lambda cell: cell.precision
)
def test_a_loop_is_the_same_bit_for_bit_and_its_rounds_follow_the_epochs(
    tracking: mlflow.MlflowClient, cell: Cell
) -> None:
    bare, _made = train(AUTOCAST[cell.precision])
    watched, made = train(AUTOCAST[cell.precision], sample_frequency="epoch")
    assert_same(bare, watched)
    assert len(set(bare["losses"])) == 8
    assert made == [4, 8]
    run = only_run(tracking)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_STATUS] == "finished"
    assert stored(run.info.run_id) == {0: ("baseline", 0.0), 4: ("epoch", 1.0), 8: ("epoch", 2.0)}


def test_rounds_every_few_steps_and_at_the_end(tracking: mlflow.MlflowClient) -> None:
    _left, made = train(sample_frequency="steps", step_interval=3)
    assert made == [3, 6]
    assert stored(only_run(tracking).info.run_id) == {
        0: ("baseline", 0.0),
        3: ("steps", 0.75),
        6: ("steps", 1.5),
        8: ("end", 2.0),
    }


def test_a_round_can_be_asked_for_and_a_step_has_one(tracking: mlflow.MlflowClient) -> None:
    """Without `with`; and a resumed loop makes no baseline, and no round where it begins."""
    rounds = make_rounds(sample_frequency="steps", step_interval=10)
    assert rounds.run is not None
    run_id = rounds.run.run_id
    assert rounds.maybe(0)
    assert not rounds.maybe(1)
    assert rounds.make(5, epoch=0.5)
    assert not rounds.make(5)
    assert rounds.maybe(10)
    rounds.close()
    rounds.close()
    assert not rounds.maybe(20)

    with make_rounds(sample_frequency="steps", step_interval=10, step=10, run_id=run_id) as resumed:
        assert not resumed.maybe(11)
    frame = load_predictions(str(run_id))
    found = frame.groupby("step").agg({"trigger": "first", "epoch": "first"})
    assert found["trigger"].to_dict() == {0: "baseline", 5: "manual", 10: "steps", 11: "end"}
    assert found["epoch"].dropna().to_dict() == {5: 0.5}
    assert tracking.get_run(str(run_id)).info.status == "FINISHED"


def test_a_resumed_loop_follows_the_epochs_from_where_it_is(tracking: mlflow.MlflowClient) -> None:
    with make_rounds(step=6, end=False) as rounds:
        made = [step for step in range(7, 13) if rounds.maybe(step, epoch=step / 4)]
    assert made == [8, 12]


def test_an_error_in_the_loop_ends_the_run(tracking: mlflow.MlflowClient) -> None:
    for error, status in ((MemoryError("out of memory"), "FAILED"), (KeyboardInterrupt(), "KILLED")):
        with pytest.raises(type(error)), make_rounds() as rounds:
            rounds.maybe(1, epoch=0.5)
            raise error
        assert rounds.run is not None
        run = tracking.get_run(str(rounds.run.run_id))
        assert run.info.status == status
        assert run.data.tags[names.TAG_STATUS].startswith(f"failed: {type(error).__name__}")
        assert stored(run.info.run_id) == {0: ("baseline", 0.0)}, "the half-done step is no last round"


def test_a_run_of_the_users_is_not_ended(tracking: mlflow.MlflowClient) -> None:
    with start_run() as run:
        with make_rounds(run=run):
            pass
        with pytest.raises(ValueError, match="a mistake"), make_rounds(run=run, sample_set="other"):
            raise ValueError("a mistake")
        assert tracking.get_run(str(run.run_id)).info.status == "RUNNING"
    assert tracking.get_run(str(run.run_id)).info.status == "FINISHED"


def test_mistakes_in_the_loop_are_said_once_and_stop_nothing(tracking: mlflow.MlflowClient) -> None:
    with pytest.warns(TimelapseWarning) as warned, make_rounds() as rounds:
        for step in (1, 2, 3, 1, 2):
            assert not rounds.maybe(step)
        assert not rounds.maybe("4")  # type: ignore[arg-type]
        assert not rounds.maybe(4, epoch=float("nan"))
    assert [str(warning.message) for warning in warned] == [
        "Following the epochs failed: sample_frequency is 'epoch', and no epoch was given. Pass "
        "epoch=step / len(loader), or choose sample_frequency='steps'.",
        "Counting steps failed: step 1 came after step 3. Count those of the whole training, not of an "
        "epoch: a step that was passed gets no round.",
        "Asking whether a round is due failed: TypeError: 'str' object cannot be interpreted as an integer. "
        "The training goes on.",
    ]
    assert only_run(tracking).info.status == "FINISHED"


def test_a_model_that_fails_leaves_rows_and_the_loop_goes_on(tracking: mlflow.MlflowClient) -> None:
    model = make_llama()
    failure = "5 of 5 at step 1, first RuntimeError: no inference"
    with pytest.warns(TimelapseWarning, match=failure), make_rounds(model) as rounds:
        model.forward = _fail  # type: ignore[method-assign]
        assert rounds.maybe(1, epoch=1)
    frame = load_predictions(only_run(tracking).info.run_id)
    assert frame.groupby("step")["status"].unique().map(list).to_dict() == {0: ["ok"], 1: ["error"]}


def _fail(*_arguments: Any, **_named: Any) -> None:
    raise RuntimeError("no inference today")


def test_mistakes_before_the_loop_are_errors(tracking: mlflow.MlflowClient) -> None:
    with pytest.raises(ConfigError, match=r"'eval' never fires in a loop.*call rounds\.make"):
        make_rounds(sample_frequency="eval")
    with pytest.raises(ConfigError, match="PredictionRounds has no samples"):
        PredictionRounds(None, make_llama(), make_tokenizer())
    classifier = GPT2ForSequenceClassification(make_gpt2().config)
    with pytest.raises(ConfigError, match="GPT2ForSequenceClassification cannot generate text"):
        make_rounds(classifier)
    assert tracking.search_runs(["0"]) == []


def test_predictions_that_are_off_do_nothing(tracking: mlflow.MlflowClient) -> None:
    with PredictionRounds(None, torch.nn.Linear(1, 1), make_tokenizer(), enabled=False) as rounds:
        assert not rounds.maybe(1, epoch=1)
        assert not rounds.make(2)
    assert rounds.run is None
    assert tracking.search_runs(["0"]) == []


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def test_a_model_in_distributed_data_parallel_is_unwrapped_and_shards_are_refused(
    tracking: mlflow.MlflowClient, process_group: None
) -> None:
    with make_rounds(DistributedDataParallel(make_llama())) as rounds:
        assert rounds.maybe(4, epoch=1)
    assert sorted(stored(only_run(tracking).info.run_id)) == [0, 4]
    with pytest.raises(ConfigError, match="weights are sharded over ranks"):
        make_rounds(fully_shard(make_llama()))
