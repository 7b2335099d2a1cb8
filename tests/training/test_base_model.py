"""The base of a PEFT model answers in its place, and the adapter is afterwards as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from peft import AdaptionPromptConfig, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from tiny import make_llama, make_samples, make_tokenizer, training_set
from transformers import Trainer, TrainingArguments

from timelapse import load_predictions
from timelapse.errors import ConfigError
from timelapse_training import PredictionsCallback
from timelapse_training.base_model import BaseModelError, base_set
from timelapse_training.generation import GenerationSettings, generate

SETTINGS = GenerationSettings(max_new_tokens=8, batch_size=3)


def adapted(form: str, seed: int = 1) -> Any:
    """A model whose adapter is not fresh: its answers are others than the base's."""
    torch.manual_seed(seed)
    config: Any = {
        "lora": LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, lora_alpha=64),
        "saved": LoraConfig(
            r=4, target_modules=["q_proj"], init_lora_weights=False, modules_to_save=["lm_head"]
        ),
        "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "adaption": AdaptionPromptConfig(task_type="CAUSAL_LM", adapter_len=2, adapter_layers=1),
    }[form]
    model = get_peft_model(make_llama(), config)
    if form in ("prompt", "prefix"):
        torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    if form == "saved":
        torch.nn.init.normal_(model.base_model.model.lm_head.modules_to_save["default"].weight)
    return model


def answers(model: Any, **options: Any) -> list[tuple[str | None, float | None]]:
    rows = generate(model, make_tokenizer(), make_samples(), SETTINGS, **options).predictions
    assert [row.error for row in rows] == [None] * len(rows)
    return [(row.prediction, pytest.approx(row.reference_nll, abs=2e-5)) for row in rows]


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize("form", ["lora", "saved", "prompt", "prefix"])
def test_the_base_answers_as_if_there_had_never_been_an_adapter(form: str) -> None:
    model = adapted(form).train()
    of_adapter, of_base = answers(model), answers(make_llama())
    assert [text for text, _ in of_adapter] != [text for text, _ in of_base]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    first = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    first.requires_grad_(False)  # a part of the adapter that the user froze
    trained = [parameter.requires_grad for parameter in model.parameters()]
    attributes, modes = set(vars(model)), [module.training for module in model.modules()]

    assert answers(model, base_model=True) == of_base

    assert answers(model) == of_adapter
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert set(vars(model)) == attributes
    assert [module.training for module in model.modules()] == modes
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in weights.items())


def test_an_adapter_is_switched_on_again_after_an_error() -> None:
    model, samples = adapted("lora"), make_samples()
    of_adapter = answers(model)
    handle = model.register_forward_pre_hook(lambda *_: 1 / 0)
    inner = model.base_model.model.register_forward_pre_hook(lambda *_: 1 / 0)
    rows = generate(
        model, make_tokenizer(), samples, replace(SETTINGS, reference_nll=False), base_model=True
    ).predictions
    handle.remove()
    inner.remove()
    assert {row.error for row in rows} == {"ZeroDivisionError: division by zero"}
    assert answers(model) == of_adapter


def test_of_several_adapters_each_keeps_what_is_trained_of_it() -> None:
    model = adapted("lora")
    model.add_adapter("reference", LoraConfig(r=2, target_modules="all-linear"))
    trained = [parameter.requires_grad for parameter in model.parameters()]
    assert answers(model, base_model=True) == answers(make_llama())
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert model.active_adapters == ["default"]


def bias(model: Any) -> Any:
    return get_peft_model(make_llama(attention_bias=True), LoraConfig(target_modules=["q_proj"], bias="all"))


def merged(model: Any) -> Any:
    model.merge_adapter()
    return model


def unfrozen(model: Any) -> Any:
    model.base_model.model.model.norm.weight.requires_grad_(True)
    return model


def irregular(model: Any) -> Any:
    model.base_model.model.model.layers[0].self_attn.q_proj.enable_adapters(False)
    return model


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda _model: make_llama(), "has no adapters of peft's that could be switched off"),
        (bias, r"weights of the base are trained, too \(base_model.*bias\)"),
        (merged, r"merged into the base's weights. Call unmerge_adapter\(\)"),
        (unfrozen, r"1 weights of the base are trained, too \(base_model.model.model.norm.weight\)"),
        (irregular, "some layers of the adapters are switched off"),
        (lambda _model: adapted("adaption"), "does not tell an adaption prompt's weights from the base's"),
    ],
    ids=["no-peft", "bias", "merged", "unfrozen", "irregular", "adaption"],
)
def test_a_base_that_is_no_longer_there_is_refused(spoil: Any, reason: str) -> None:
    model = spoil(adapted("lora"))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BaseModelError, match=reason):
        generate(model, make_tokenizer(), make_samples(), SETTINGS, base_model=True)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in weights.items())


def trained(folder: Path, callbacks: list[Any], model: Any) -> list[float]:
    tokenizer = make_tokenizer()
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        args=arguments,
        train_dataset=training_set(tokenizer),
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("form", ["lora", "saved"])
def test_a_training_has_a_round_of_its_base_and_is_the_same_with_it(
    tracking: mlflow.MlflowClient, tmp_path: Path, form: str
) -> None:
    expected, bare = answers(make_llama()), adapted(form)
    of_adapter = answers(bare)
    losses = trained(tmp_path / "bare", [], bare)
    watched = adapted(form)
    callback = PredictionsCallback(make_samples(), base_model=True, max_new_tokens=8, batch_size=3)

    assert trained(tmp_path / "watched", [callback], watched) == losses

    pairs = zip(bare.state_dict().values(), watched.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    frame = load_predictions("last")
    base = frame[frame["set"] == "main-base"]
    assert base["step"].tolist() == [0] * 5
    assert set(base["trigger"]) == {"baseline"}
    assert base["prompt"].tolist() == [sample.prompt for sample in make_samples()]
    assert list(zip(base["prediction"], base["reference_nll"], strict=True)) == expected
    start = frame[(frame["set"] == "main") & (frame["step"] == 0)]
    assert list(zip(start["prediction"], start["reference_nll"], strict=True)) == of_adapter
    assert sorted(set(frame[frame["set"] == "main"]["step"])) == [0, 3]
    [run_id] = set(frame["run_id"])
    metrics = tracking.get_run(run_id).data.metrics
    assert metrics["predictions/main-base/reference_nll"] == pytest.approx(base["reference_nll"].mean())
    assert tracking.get_run(run_id).data.tags["timelapse.status"] == "finished"


def test_a_model_without_adapters_is_refused_before_the_first_step(
    tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    callback = PredictionsCallback(make_samples(), base_model=True)
    with pytest.raises(ConfigError, match=r"predictions\.base_model: the model has no adapters"):
        trained(tmp_path, [callback], make_llama())
    experiments = [experiment.experiment_id for experiment in tracking.search_experiments()]
    assert tracking.search_runs(experiments) == []


def test_the_bases_set_has_the_same_samples() -> None:
    samples = make_samples()
    assert base_set(samples).name == "main-base"
    assert base_set(replace(samples, name="probe")).name == "probe-base"
    assert list(base_set(samples)) == list(samples)
