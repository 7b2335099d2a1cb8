"""Generation: answers equal those of an oracle that uses none of our code; every sample gets a row."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from tiny import (
    QUESTIONS,
    greedy_oracle,
    make_gpt2,
    make_llama,
    make_samples,
    make_t5,
    make_tokenizer,
)
from transformers import BartConfig, BartForConditionalGeneration

from timelapse.samples import Sample, SampleSet
from timelapse_training.generation import GenerationSettings, failed_round, generate
from timelapse_training.prompts import encode, render

SETTINGS = GenerationSettings(max_new_tokens=12, batch_size=3)


def oracle_answers(model: Any, tokenizer: Any, samples: SampleSet) -> list[tuple[str, str, int]]:
    """Text, finish reason and token count of each sample, answered alone."""
    answers = []
    for sample in samples:
        rendered = tokenizer.apply_chat_template(
            list(sample.messages), add_generation_prompt=True, tokenize=False
        )
        ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        tokens, reason = greedy_oracle(model, ids, SETTINGS.max_new_tokens)
        answers.append((tokenizer.decode(tokens, skip_special_tokens=True), reason, len(tokens)))
    return answers


@pytest.mark.parametrize("model_name", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "tokenizer_options",
    [
        {"side": "right"},
        {"side": "left"},
        {"pad": "<end>", "side": "right"},
        {"pad": None},
    ],
    ids=["right", "left", "pad-is-eos", "no-pad"],
)
def test_batched_answers_equal_those_of_one_forward_pass_a_token(
    model_name: str, tokenizer_options: dict[str, Any]
) -> None:
    model = make_llama() if model_name == "llama" else make_gpt2()
    tokenizer = make_tokenizer(**tokenizer_options)
    before = (tokenizer.padding_side, tokenizer.pad_token, tokenizer.truncation_side)
    samples = make_samples()

    round_ = generate(model, tokenizer, samples, SETTINGS, step=7, epoch=1.5, trigger="epoch")

    found = [(row.prediction, row.finish_reason, row.prediction_tokens) for row in round_.predictions]
    assert found == oracle_answers(model, tokenizer, samples)
    assert (round_.step, round_.epoch, round_.trigger) == (7, 1.5, "epoch")
    assert [row.sample_id for row in round_.predictions] == [sample.sample_id for sample in samples]
    assert all(row.status == "ok" and row.error is None for row in round_.predictions)
    assert [row.prompt_tokens for row in round_.predictions] == [
        len(encode(tokenizer, sample).token_ids) for sample in samples
    ]
    assert (tokenizer.padding_side, tokenizer.pad_token, tokenizer.truncation_side) == before


def test_an_answer_that_ends_is_a_stop_and_one_that_is_cut_is_a_length() -> None:
    """With the end token made likely, some answers end by themselves; both reasons must occur."""
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples()
    for _ in range(40):
        reasons = {reason for _text, reason, _count in oracle_answers(model, tokenizer, samples)}
        if reasons == {"stop", "length"}:
            break
        with torch.no_grad():
            model.lm_head.weight[1] *= 1.15
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    assert {row.finish_reason for row in rows} == {"stop", "length"}
    for row in rows:
        assert row.prediction_tokens is not None
        assert (row.prediction_tokens == SETTINGS.max_new_tokens) == (row.finish_reason == "length")


def test_a_model_may_have_more_tokens_that_end_an_answer_than_its_tokenizer() -> None:
    """Gemma ends a turn with `<end_of_turn>`, and its tokenizer's end token is `<eos>`."""
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples("go")
    settings = replace(SETTINGS, keep_tokens=True)
    [before] = generate(model, tokenizer, samples, settings).predictions
    assert before.finish_reason == "length"
    assert before.prediction_token_ids is not None
    ids = before.prediction_token_ids
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, ids[4]]
    [row] = generate(model, tokenizer, samples, settings).predictions
    assert (row.finish_reason, row.prediction_token_ids) == ("stop", ids[: ids.index(ids[4])])


def test_encoder_decoder_answers_are_not_sliced() -> None:
    model, tokenizer = make_t5(), make_tokenizer(chat=False)
    samples = make_samples()
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    for sample, row in zip(samples, rows, strict=True):
        ids = tokenizer(render(tokenizer, sample))["input_ids"]
        alone = model.generate(
            input_ids=torch.tensor([ids]), max_new_tokens=SETTINGS.max_new_tokens, do_sample=False
        )[0].tolist()
        answer = alone[1:]
        answer = answer[: answer.index(1)] if 1 in answer else answer
        assert row.prediction == tokenizer.decode(answer, skip_special_tokens=True)
        assert row.prediction_tokens == len(answer)
    assert any(row.prediction for row in rows)


def test_a_sample_that_cannot_be_answered_fails_alone_and_says_why() -> None:
    model, tokenizer = make_gpt2(positions=64), make_tokenizer()
    samples = make_samples("go", "x" * 80, "be")
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    assert [row.status for row in rows] == ["ok", "error", "ok"]
    assert rows[1].prediction is None
    assert rows[1].finish_reason == "error"
    assert "83 tokens and the model takes 64" in (rows[1].error or "")


def test_an_answer_is_cut_where_the_model_has_no_more_positions() -> None:
    model, tokenizer = make_gpt2(positions=64), make_tokenizer()
    samples = make_samples("x" * 55, "go")
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    length = len(encode(tokenizer, samples[0]).token_ids)
    assert rows[0].prediction_tokens == 64 - length < SETTINGS.max_new_tokens
    assert rows[0].finish_reason == "length"
    assert rows[1].prediction_tokens == SETTINGS.max_new_tokens


def test_a_token_that_the_model_does_not_know_is_an_error_row() -> None:
    """On a GPU such an index ends the whole process, so it must never reach the model."""
    model, tokenizer = make_llama(vocab_size=100), make_tokenizer()
    rows = generate(model, tokenizer, make_samples("go", "ÿ"), SETTINGS).predictions
    assert [row.status for row in rows] == ["ok", "error"]
    assert "tokenizer and model do not belong together" in (rows[1].error or "")


def test_a_template_that_refuses_a_chat_fails_that_sample_only() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['content'] == 'be' %}{{ raise_exception('no verbs of being') }}{% endif %}"
        + str(tokenizer.chat_template)
    )
    rows = generate(model, tokenizer, make_samples("go", "be"), SETTINGS).predictions
    assert [row.status for row in rows] == ["ok", "error"]
    assert "no verbs of being" in (rows[1].error or "")


class BrokenOn(torch.nn.Module):
    """Breaks the model's forward pass whenever a given token is in its input."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is not None and (ids == self.token).any():
            raise RuntimeError("this token hurts")


def test_a_batch_that_fails_is_answered_one_by_one() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    samples = make_samples("go", "see Q", "be", "sing")
    expected = generate(model, tokenizer, samples, SETTINGS).predictions
    bad = tokenizer("Q")["input_ids"][0]
    handle = model.register_forward_pre_hook(BrokenOn(bad), with_kwargs=True)
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    handle.remove()
    assert rows[1].status == "error"
    assert rows[1].error == "RuntimeError: this token hurts"
    for index in (0, 2, 3):
        assert rows[index].prediction == expected[index].prediction


def test_an_empty_set_is_an_empty_round() -> None:
    assert generate(make_llama(), make_tokenizer(), SampleSet(()), SETTINGS).predictions == ()


def test_sampling_repeats_with_its_seed_and_changes_with_another() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples()

    def texts(seed: int) -> list[str | None]:
        settings = GenerationSettings(max_new_tokens=12, do_sample=True, temperature=2.0, seed=seed)
        return [row.prediction for row in generate(model, tokenizer, samples, settings).predictions]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_greedy_ignores_the_sampling_settings_of_the_model() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples()
    expected = oracle_answers(model, tokenizer, samples)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 5.0
    model.generation_config.repetition_penalty = 3.0
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    assert [row.prediction for row in rows] == [text for text, _reason, _count in expected]


def test_tools_reach_the_template_and_plain_prompts_do_not() -> None:
    tokenizer = make_tokenizer()
    tool = {"type": "function", "function": {"name": "conjugate"}}
    asked = Sample(({"role": "user", "content": "go"},), tools=(tool,))
    plain = Sample(({"role": "user", "content": "Once upon"},), conversational=False)
    assert '"conjugate"' in render(tokenizer, asked)
    assert render(tokenizer, asked).endswith("<user>go<end><assistant>")
    assert render(tokenizer, plain) == "Once upon"
    assert render(tokenizer, plain, "chat") == "<user>Once upon<end><assistant>"
    assert render(tokenizer, asked, "plain") == "go\n"


def test_a_transcript_without_template_ends_with_the_assistant() -> None:
    tokenizer = make_tokenizer(chat=False)
    turns = ("user", "hi"), ("assistant", "hello"), ("user", "bye")
    sample = Sample(tuple({"role": role, "content": text} for role, text in turns))
    assert render(tokenizer, sample) == "User: hi\nAssistant: hello\nUser: bye\nAssistant:"


@pytest.mark.parametrize("form", ["pure", "autocast", "fp32-norms", "lora"])
def test_half_precision_in_each_form_answers_every_sample(form: str) -> None:
    model: Any = make_llama()
    autocast = None
    if form == "pure":
        model = model.to(torch.bfloat16)
    elif form == "autocast":
        autocast = torch.bfloat16
    elif form == "fp32-norms":
        model = model.to(torch.bfloat16)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.data = parameter.data.float()
        with pytest.raises(RuntimeError, match="same dtype"):  # the trap that autocast disarms
            model.generate(input_ids=torch.tensor([[5, 6]]), max_new_tokens=2)
    else:
        model = get_peft_model(model.to(torch.bfloat16), LoraConfig(r=2, target_modules="all-linear"))
    settings = GenerationSettings(max_new_tokens=12, batch_size=3, autocast=autocast)
    tokenizer, samples = make_tokenizer(), make_samples()
    rows = generate(model, tokenizer, samples, settings).predictions
    assert [row.error for row in rows] == [None] * len(QUESTIONS)
    # The texts are those of the same weights in the same precision, one sample at a time.
    for sample, row in zip(samples, rows, strict=True):
        alone = generate(model, tokenizer, [sample], settings).predictions[0]
        assert alone.prediction == row.prediction
    if form == "pure":
        assert [row.prediction for row in rows] == [
            text for text, _reason, _count in oracle_answers(model, tokenizer, samples)
        ]


def test_the_model_is_left_as_it_was_even_after_an_error() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    model.train()
    model.model.layers[0].eval()  # a frozen part that the user keeps in evaluation mode
    model.activation_checkpointing_enable()
    modes = [module.training for module in model.modules()]
    switches = [getattr(module, "gradient_checkpointing", None) for module in model.modules()]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index]
    handle = model.register_forward_pre_hook(BrokenOn(6), with_kwargs=True)
    for settings in (SETTINGS, GenerationSettings(max_new_tokens=3, do_sample=True)):
        generate(model, tokenizer, make_samples(), settings)
    handle.remove()
    assert [module.training for module in model.modules()] == modes
    assert [getattr(module, "gradient_checkpointing", None) for module in model.modules()] == switches
    assert random.getstate() == state[0]
    assert np.random.get_state()[1].tolist() == state[1]  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), state[2])
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_a_round_that_failed_as_a_whole_has_a_row_for_each_sample() -> None:
    samples = make_samples()
    round_ = failed_round(samples, ValueError("no model"), step=3, epoch=0.5, trigger="steps")
    assert [row.error for row in round_.predictions] == ["ValueError: no model"] * len(samples)
    assert len(round_.failed) == len(samples)
    assert (round_.step, round_.epoch, round_.trigger) == (3, 0.5, "steps")


INHERITED: dict[str, Any] = {
    "num_return_sequences": 2,
    "return_dict_in_generate": True,
    "min_new_tokens": 9,
    "min_length": 60,
    "suppress_tokens": list(range(10, 200)),
    "begin_suppress_tokens": list(range(10, 200)),
    "forced_eos_token_id": 1,
    "guidance_scale": 3.0,
    "sequence_bias": [[[20], 50.0]],
    "stop_strings": ["a"],
    "max_time": 0.0001,
    "num_beams": 3,
    "no_repeat_ngram_size": 1,
}


@pytest.mark.parametrize("name", INHERITED)
def test_nothing_is_inherited_from_the_models_own_settings(name: str) -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples()
    expected = [text for text, _reason, _count in oracle_answers(model, tokenizer, samples)]
    setattr(model.generation_config, name, INHERITED[name])
    own = model.generation_config
    rows = generate(model, tokenizer, samples, SETTINGS).predictions
    assert [(row.prediction, row.error) for row in rows] == [(text, None) for text in expected]
    assert model.generation_config is own
    assert getattr(own, name) == INHERITED[name]


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_prompt_tuning_answers_alike_in_a_batch_and_alone() -> None:
    tuning = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    model: Any = get_peft_model(make_llama(), tuning)
    torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight)
    tokenizer, samples = make_tokenizer(), make_samples("go", "forget it", "a much longer one", "be")
    together = generate(model, tokenizer, samples, SETTINGS).predictions
    alone = [generate(model, tokenizer, [sample], SETTINGS).predictions[0] for sample in samples]
    assert [row.prediction for row in together] == [row.prediction for row in alone]
    assert all(row.status == "ok" for row in together)


def test_prompt_tuning_of_an_encoder_decoder_answers_as_it_does_by_itself() -> None:
    tuning = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4)
    model: Any = get_peft_model(make_t5(), tuning).eval()
    tokenizer, samples = make_tokenizer(chat=False), make_samples()
    for sample, row in zip(samples, generate(model, tokenizer, samples, SETTINGS).predictions, strict=True):
        ids = torch.tensor([tokenizer(render(tokenizer, sample))["input_ids"]])
        alone = model.generate(input_ids=ids, max_new_tokens=SETTINGS.max_new_tokens, do_sample=False)
        answer = alone[0, 1:].tolist()
        answer = answer[: answer.index(1)] if 1 in answer else answer
        assert (row.error, row.prediction) == (None, tokenizer.decode(answer, skip_special_tokens=True))
        assert row.reference_nll is not None


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_learned_positions_are_never_overrun() -> None:
    """On a GPU an index past them ends the process, so it must be an error row and no attempt."""
    tokenizer = make_tokenizer()
    tuning = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=20)
    tuned: Any = get_peft_model(make_gpt2(positions=48), tuning)
    row = generate(tuned, tokenizer, make_samples("x" * 30), SETTINGS).predictions[0]
    assert "takes 28 with the answer" in (row.error or "")
    row = generate(tuned, tokenizer, make_samples("x" * 20), SETTINGS).predictions[0]
    assert (row.error, row.prediction_tokens) == (None, 5)
    torch.manual_seed(0)
    bart = BartForConditionalGeneration(
        BartConfig(
            vocab_size=264,
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            max_position_embeddings=32,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=1,
            decoder_start_token_id=1,
            forced_eos_token_id=None,
        )
    ).eval()
    rows = generate(bart, tokenizer, make_samples("x" * 40, "go"), SETTINGS).predictions
    assert "the model takes 32" in (rows[0].error or "")
    assert rows[1].status == "ok"


def test_rotary_embeddings_forget_what_a_round_made_them_remember() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model, tokenizer = make_llama(max_position_embeddings=32, rope_parameters=rope), make_tokenizer()
    short, long = torch.arange(10, 90).reshape(1, -1), make_samples("x" * 120)
    model.train()
    model(input_ids=torch.arange(10, 110).reshape(1, -1))
    expected = model(input_ids=short).logits
    model(input_ids=torch.arange(10, 110).reshape(1, -1))
    rows = generate(model, tokenizer, long, SETTINGS).predictions
    assert rows[0].status == "ok"
    assert torch.equal(model(input_ids=short).logits, expected)


class Panic(BaseException):
    """As pyo3 raises it when native code panics: no `Exception`."""


def test_a_panic_in_native_code_is_an_error_row() -> None:
    model, tokenizer = make_llama(), make_tokenizer()

    def panic(module: Any, inputs: Any) -> None:
        raise Panic("index out of bounds")

    handle = model.register_forward_pre_hook(panic)
    rows = generate(model, tokenizer, make_samples("go"), SETTINGS).predictions
    handle.remove()
    assert rows[0].error == "Panic: index out of bounds"
