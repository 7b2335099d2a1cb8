"""The loss on references against brute force, and against the loss that a training computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from tiny import make_gpt2, make_llama, make_samples, make_t5, make_tokenizer
from transformers import LlamaForCausalLM

from timelapse import TimelapseWarning
from timelapse.samples import Sample
from timelapse_training import reference_loss
from timelapse_training.generation import GenerationSettings, generate
from timelapse_training.loading import training_rows
from timelapse_training.prompts import render

SETTINGS = GenerationSettings(max_new_tokens=2, batch_size=3)
SAMPLES = [
    *make_samples(),
    Sample(({"role": "user", "content": "Once upon"},), " a time, and a long one", conversational=False),
    Sample(({"role": "user", "content": "no answer is known"},)),
    Sample(({"role": "user", "content": "say nothing"},), ""),
]


def losses(model: Any, tokenizer: Any, samples: Any = SAMPLES, **settings: Any) -> list[float | None]:
    rows = generate(model, tokenizer, samples, replace(SETTINGS, **settings)).predictions
    assert [row.status for row in rows] == ["ok"] * len(samples)
    return [row.reference_nll for row in rows]


def oracle(model: Any, tokenizer: Any, sample: Sample) -> float | None:
    """Alone, without padding, a forward pass a token: the end of the answer is one of its tokens."""
    if sample.reference is None:
        return None
    prompt = tokenizer(render(tokenizer, sample), add_special_tokens=False)["input_ids"]
    answer = [*tokenizer(sample.reference, add_special_tokens=False)["input_ids"], 1]
    total = 0.0
    for place, token in enumerate(answer):
        if model.config.is_encoder_decoder:
            given = {
                "input_ids": torch.tensor([prompt]),
                "decoder_input_ids": torch.tensor([[0, *answer[:place]]]),
            }
        else:
            given = {"input_ids": torch.tensor([prompt + answer[:place]])}
        with torch.no_grad():
            logits = model(**given).logits[0, -1].double()
        total -= float(logits.log_softmax(-1)[token])
    return total / len(answer)


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "plain"])
@pytest.mark.parametrize("make", [make_llama, make_gpt2, make_t5])
def test_losses_are_those_of_one_forward_pass_a_token(make: Any, chat: bool) -> None:
    model, tokenizer = make(), make_tokenizer(chat=chat)
    expected = [oracle(model, tokenizer, sample) for sample in SAMPLES]
    # The tiny T5 has logits around fifty, and float32 seven digits.
    assert losses(model, tokenizer) == pytest.approx(expected, abs=3e-4 if make is make_t5 else 2e-5)
    assert expected[-2] is None
    assert expected[-1] is not None  # an empty answer still has an end


def test_the_loss_is_that_of_a_training_on_the_answer() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    samples = [sample for sample in SAMPLES if sample.reference is not None]
    rows = training_rows(tokenizer, samples, template="auto", max_length=None).dataset
    expected = []
    for row in rows:
        given = {name: torch.tensor([row[name]]) for name in ("input_ids", "labels")}
        with torch.no_grad():
            expected.append(float(model(**given).loss))
    assert losses(model, tokenizer, samples) == pytest.approx(expected, abs=2e-5)


def test_what_stands_behind_the_end_of_a_turn_is_not_asked_of_the_model() -> None:
    """Gemma's template writes `<end_of_turn>`, and its tokenizer's end token is `<eos>`."""
    model, tokenizer = make_llama(), make_tokenizer()
    expected = losses(model, tokenizer, make_samples())
    tokenizer.eos_token = "<tools>"
    model.generation_config.eos_token_id = [1, tokenizer.eos_token_id]
    assert losses(model, tokenizer, make_samples()) == pytest.approx(expected, abs=2e-5)


def test_an_answer_equal_to_the_reference_is_as_likely_as_it() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    with torch.no_grad():
        model.lm_head.weight[1] *= 2.0
    samples = make_samples(*"abcdefgh")
    settings = replace(SETTINGS, max_new_tokens=12, keep_tokens=True)
    answered = generate(model, tokenizer, samples, settings).predictions
    ended = [
        (replace(sample, reference=row.prediction), row)
        for sample, row in zip(samples, answered, strict=True)
        # A special token within an answer is not in its text.
        if row.finish_reason == "stop"
        and tokenizer(row.prediction)["input_ids"] == list(row.prediction_token_ids or ())
    ]
    assert ended
    for sample, row in ended:
        [loss] = losses(model, tokenizer, [sample])
        assert row.mean_logprob is not None
        assert loss == pytest.approx(-row.mean_logprob, abs=2e-5)


class SilentLlama(LlamaForCausalLM):
    """A model whose forward pass does not take `logits_to_keep`."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **others: Any) -> Any:  # type: ignore[override]
        return super().forward(input_ids, attention_mask, **others)


@pytest.mark.parametrize("takes", [True, False])
def test_logits_of_the_prompt_are_computed_only_where_they_must_be(takes: bool) -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    if not takes:
        silent = SilentLlama(model.config).eval()
        silent.load_state_dict(model.state_dict())
        model = silent
    sample = make_samples("x" * 40)[0]
    short = replace(sample, reference="went")
    widths: list[int] = []
    handle = model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: widths.append(output.shape[1])
    )
    [loss] = losses(model, tokenizer, [short])
    handle.remove()
    assert widths[-1] == (5 if takes else 43 + 4)  # went<end>; all but the last token that is read
    assert loss == pytest.approx(oracle(model, tokenizer, short), abs=2e-5)


def test_long_references_are_taken_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    expected = losses(model, tokenizer, batch_size=8)
    monkeypatch.setattr(reference_loss, "LOGITS_IN_A_BATCH", 30 * 264)
    sizes: list[int] = []
    handle = model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: sizes.append(output.shape[0] * output.shape[1])
    )
    found = losses(model, tokenizer, batch_size=8)
    handle.remove()
    assert found == pytest.approx(expected, abs=2e-5)
    assert len([size for size in sizes if size > 8]) > 1  # behind the steps of generation: several batches
    assert max(sizes) <= max(30, max(len(sample.reference or "") + 1 for sample in SAMPLES))


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize("form", ["lora", "prompt", "prefix"])
def test_models_of_peft_have_the_loss_of_their_own_forward_pass(form: str) -> None:
    torch.manual_seed(1)
    config: Any = {
        "lora": LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False),
        "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        "prefix": PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    }[form]
    model: Any = get_peft_model(make_llama(), config)
    model.eval()
    if form != "lora":
        torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    tokenizer = make_tokenizer()
    expected = [oracle(model, tokenizer, sample) for sample in SAMPLES]
    assert losses(model, tokenizer) == pytest.approx(expected, abs=2e-5)
    with model.disable_adapter():
        assert oracle(model, tokenizer, SAMPLES[0]) != pytest.approx(expected[0], abs=0.01)


def test_half_precision_is_summed_in_full() -> None:
    model, tokenizer, sample = make_llama().to(torch.bfloat16), make_tokenizer(), make_samples("go")[0]
    [loss] = losses(model, tokenizer, [sample])
    ids = tokenizer("<user>go<end><assistant>GO<end>", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids[:-1]])).logits[0, -3:].double()
    expected = -logits.log_softmax(-1)[range(3), ids[-3:]].mean()
    assert loss == pytest.approx(float(expected), abs=1e-5)


def test_generations_of_a_sample_share_its_loss() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples("go", "be")
    once = losses(model, tokenizer, samples)
    rows = generate(model, tokenizer, samples, replace(SETTINGS, do_sample=True, generations=2)).predictions
    assert [row.reference_nll for row in rows] == pytest.approx([once[0]] * 2 + [once[1]] * 2, abs=2e-5)


def test_it_can_be_switched_off() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    assert losses(model, tokenizer, reference_nll=False) == [None] * len(SAMPLES)


def test_a_reference_that_does_not_fit_has_no_loss_and_its_answer_stays() -> None:
    model, tokenizer = make_gpt2(positions=64), make_tokenizer()
    fitting, long = make_samples("go")[0], replace(make_samples("be")[0], reference="x" * 80)
    with pytest.warns(TimelapseWarning, match=r"have 86 tokens, the model takes 64. The answers are stored"):
        found = losses(model, tokenizer, [fitting, long])
    assert found == [pytest.approx(oracle(model, tokenizer, fitting), abs=2e-5), None]


def test_a_model_that_fails_on_references_still_answers() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    bad = tokenizer("Q")["input_ids"][0]

    def hurt(_module: Any, _args: Any, kwargs: Any) -> None:
        if (kwargs["input_ids"] == bad).any():
            raise RuntimeError("this token hurts")

    samples = [replace(sample, reference=f"{n}Q" if n == 1 else "x") for n, sample in enumerate(SAMPLES[:4])]
    handle = model.register_forward_pre_hook(hurt, with_kwargs=True)
    with pytest.warns(TimelapseWarning, match="Computing reference losses failed: RuntimeError: this token"):
        found = losses(model, tokenizer, samples)
    handle.remove()
    assert [loss is None for loss in found] == [False, True, False, False]


def test_nothing_is_computed_for_samples_that_cannot_be_answered() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    calls: list[int] = []

    def hurt(_module: Any, _args: Any, _kwargs: Any) -> None:
        calls.append(1)
        raise RuntimeError("no inference today")

    handle = model.register_forward_pre_hook(hurt, with_kwargs=True)
    rows = generate(model, tokenizer, make_samples("go", "be"), SETTINGS).predictions
    handle.remove()
    assert [(row.status, row.reference_nll) for row in rows] == [("error", None)] * 2
    assert len(calls) == 3  # the batch, then one by one


def test_a_token_that_the_model_does_not_know_never_reaches_it() -> None:
    model, tokenizer = make_llama(vocab_size=100), make_tokenizer()
    sample = replace(make_samples("go")[0], reference="ÿ")
    with pytest.warns(TimelapseWarning, match="the model knows 100"):
        assert losses(model, tokenizer, [sample]) == [None]
