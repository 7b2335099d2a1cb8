"""Too little memory: smaller batches, remembered; then rows that say what to do. The errors are torch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from tiny import make_llama, make_samples, make_tokenizer
from trainers import make_trainer

from timelapse import TimelapseWarning, load_predictions
from timelapse_training import PredictionsCallback
from timelapse_training.generation import GenerationSettings, generate
from timelapse_training.memory import BatchLimit, BatchLimits, in_batches, is_out_of_memory

SETTINGS = GenerationSettings(max_new_tokens=4, batch_size=8, reference_nll=False)
QUESTIONS = [f"question {'x' * length}" for length in range(9)]


def ask_for_too_much() -> None:
    torch.empty(2**50, dtype=torch.uint8)  # a petabyte: torch's allocator refuses


class Memory:
    """Has a model's forward pass run out of memory where a batch has more than so many rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.tried: list[int] = []

    def __call__(self, module: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"]
        if ids.shape[1] > 1:  # the prompt; the steps after it are one token wide
            self.tried.append(ids.shape[0])
        if ids.shape[0] > self.rows:
            ask_for_too_much()


@contextmanager
def memory_of(model: Any, rows: int) -> Iterator[Memory]:
    memory = Memory(rows)
    handle = model.register_forward_pre_hook(memory, with_kwargs=True)
    yield memory
    handle.remove()


def test_torchs_errors_of_memory_are_known_and_others_are_not() -> None:
    with pytest.raises(RuntimeError) as error:
        ask_for_too_much()
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("[enforce fail] not enough memory: you tried to allocate 8 bytes"))
    assert is_out_of_memory(MemoryError())
    for other in (RuntimeError("expected same dtype"), ValueError("CUDA out of memory."), RuntimeError()):
        assert not is_out_of_memory(other)


def test_batches_are_halved_until_they_fit_and_stay_so() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples(*QUESTIONS)
    expected = generate(model, tokenizer, samples, SETTINGS).predictions
    limits = BatchLimits()
    with memory_of(model, 2) as memory, pytest.warns(TimelapseWarning) as said:
        rows = generate(model, tokenizer, samples, SETTINGS, limits=limits).predictions
        assert memory.tried == [8, 4, 2, 2, 2, 2, 1]
        again = generate(model, tokenizer, samples, SETTINGS, limits=limits).predictions
        assert memory.tried[7:] == [2, 2, 2, 2, 1]

    assert [row.prediction for row in rows] == [row.prediction for row in expected]
    assert [row.error for row in (*rows, *again)] == [None] * 18
    assert limits.answers.rows == 2
    assert [str(each.message)[:88] for each in said] == [
        "Out of memory with 8 samples in a batch: from now on at most 4 are taken together. To av",
        "Out of memory with 4 samples in a batch: from now on at most 2 are taken together. To av",
    ]


def test_where_one_sample_does_not_fit_the_round_is_given_up_at_once() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples(*QUESTIONS)
    modes = [module.training for module in model.train().modules()]
    limits = BatchLimits()
    with memory_of(model, 0) as memory, pytest.warns(TimelapseWarning):
        rows = generate(model, tokenizer, samples, SETTINGS, limits=limits).predictions
        assert memory.tried == [8, 4, 2, 1]
        generate(model, tokenizer, samples, SETTINGS, limits=limits)
        assert memory.tried == [8, 4, 2, 1, 1]  # a later round tries, once
    for row in rows:
        assert (row.status, row.prediction, row.finish_reason) == ("error", None, "error")
        assert row.error is not None
        assert row.error.startswith("NoMemoryError: not even one sample fits into the memory")
        assert "Lower predictions.max_new_tokens, shorten the prompts, or lower" in row.error
        assert "can't allocate memory" in row.error
        assert row.prompt_tokens is not None
    assert [module.training for module in model.modules()] == modes
    assert generate(model, tokenizer, samples, SETTINGS, limits=limits).failed == ()


def test_only_what_does_not_fit_is_left_unanswered() -> None:
    """Prompts are taken by length: those before the one that is too long have their answers."""
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples(*reversed(QUESTIONS))
    longest = len(tokenizer(QUESTIONS[6])["input_ids"]) + 3

    def refuse(_module: Any, _args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[1] > longest:
            ask_for_too_much()

    handle = model.register_forward_pre_hook(refuse, with_kwargs=True)
    with pytest.warns(TimelapseWarning):
        rows = generate(model, tokenizer, samples, SETTINGS).predictions
    handle.remove()
    assert [row.status for row in rows] == ["error"] * 2 + ["ok"] * 7


def test_other_errors_are_still_those_of_single_samples() -> None:
    def work(batch: list[int]) -> list[int]:
        if len(batch) > 4:
            ask_for_too_much()
        if 3 in batch:
            raise ValueError("three")
        return [item * 10 for item in batch]

    limit = BatchLimit()
    with pytest.warns(TimelapseWarning):
        found = list(in_batches([[0, 1, 2, 3, 4, 5], [6, 7]], work, lambda _item, error: str(error), limit))
    assert found == [(0, 0), (1, 10), (2, 20), (3, "three"), (4, 40), (5, 50), (6, 60), (7, 70)]
    assert limit.rows == 3


def test_what_a_failed_pass_held_is_let_go_before_the_next() -> None:
    """The frames of a traceback hold their tensors; with them memory would never suffice."""

    class Held:
        alive = 0

        def __init__(self) -> None:
            Held.alive += 1

        def __del__(self) -> None:
            Held.alive -= 1

    seen: list[int] = []

    def work(batch: list[int]) -> list[int]:
        seen.append(Held.alive)
        held = Held()
        held.itself = held  # type: ignore[attr-defined]
        if len(batch) > 1:
            try:
                ask_for_too_much()
            except RuntimeError as error:
                raise torch.OutOfMemoryError("CUDA out of memory.") from error
        del held.itself  # type: ignore[attr-defined]
        return batch

    with pytest.warns(TimelapseWarning):
        assert len(list(in_batches([[1, 2, 3, 4]], work, lambda item, _error: item, BatchLimit()))) == 4
    assert seen == [0] * 6


def test_references_have_a_limit_of_their_own_and_lack_only_their_loss() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples(*QUESTIONS)
    limits, settings = BatchLimits(), replace(SETTINGS, reference_nll=True)
    expected = generate(model, tokenizer, samples, settings).predictions

    def refuse(most: int) -> Any:
        def hook(_module: Any, _args: Any, kwargs: Any) -> None:
            if (
                "logits_to_keep" in kwargs
                and kwargs["logits_to_keep"] > 2
                and len(kwargs["input_ids"]) > most
            ):
                ask_for_too_much()

        return model.register_forward_pre_hook(hook, with_kwargs=True)

    handle = refuse(2)
    with pytest.warns(TimelapseWarning):
        rows = generate(model, tokenizer, samples, settings, limits=limits).predictions
    handle.remove()
    assert (limits.answers.rows, limits.references.rows) == (None, 2)
    assert [row.reference_nll for row in rows] == pytest.approx(
        [row.reference_nll for row in expected], abs=2e-5
    )

    handle = refuse(0)
    with pytest.warns(TimelapseWarning) as said:
        rows = generate(model, tokenizer, samples, settings).predictions
    handle.remove()
    assert str(said[-1].message).startswith("Computing reference losses failed: NoMemoryError: not even one")
    assert [(row.status, row.reference_nll) for row in rows] == [("ok", None)] * 9
    assert [row.prediction for row in rows] == [row.prediction for row in expected]


def test_a_training_remembers_from_round_to_round(tracking: mlflow.MlflowClient, tmp_path: Path) -> None:
    callback = PredictionsCallback(make_samples(*QUESTIONS[:6]), max_new_tokens=4, batch_size=6)
    trainer = make_trainer(tmp_path / "out", callback, save_strategy="no", per_device_train_batch_size=2)
    with memory_of(trainer.model, 3) as memory, pytest.warns(TimelapseWarning, match="at most 3 are"):
        trainer.train()
    assert memory.tried.count(6) == 2  # one for the answers, one for the references, in the first round only
    frame = load_predictions("last")
    assert frame["status"].tolist() == ["ok"] * 18
    assert frame["reference_nll"].notna().all()
