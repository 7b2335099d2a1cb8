"""Log-probabilities against an oracle of one forward pass a token; draws against their distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_gpt2, make_llama, make_samples, make_t5, make_tokenizer

from timelapse.errors import ConfigError
from timelapse.rounds import Prediction
from timelapse_training.confidence import DrawnTokens, uniforms
from timelapse_training.generation import GenerationSettings, generate

SETTINGS = GenerationSettings(max_new_tokens=12, batch_size=3, reference_nll=False, keep_tokens=True)
DRAWN = replace(SETTINGS, do_sample=True, temperature=1.5, seed=5)
EOS = 1


def ending(model: Any) -> Any:
    """Make the end likely enough that some answers end by themselves."""
    with torch.no_grad():
        model.lm_head.weight[EOS] *= 2.0
    return model


def next_logits(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """The logits behind prompt and answer, without padding, cache or `generate`."""
    with torch.no_grad():
        if model.config.is_encoder_decoder:
            start = [model.config.decoder_start_token_id, *answer]
            output = model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([start]))
        else:
            output = model(input_ids=torch.tensor([prompt + answer]), use_cache=False)
    logits: torch.Tensor = output.logits[0, -1].double()
    return logits


def oracle_logprobs(model: Any, row: Prediction) -> list[float]:
    """The log-probability of each token of a row's answer, and of its end if the model ended it."""
    prompt, answer = list(row.prompt_token_ids or ()), list(row.prediction_token_ids or ())
    written = [*answer, EOS] if row.finish_reason == "stop" else answer
    return [
        float(next_logits(model, prompt, answer[:place]).log_softmax(-1)[token])
        for place, token in enumerate(written)
    ]


@pytest.mark.parametrize("drawn", [False, True], ids=["greedy", "drawn"])
@pytest.mark.parametrize("make", [make_llama, make_gpt2, make_t5])
def test_log_probabilities_are_those_of_one_forward_pass_a_token(make: Any, drawn: bool) -> None:
    model, tokenizer = make(), make_tokenizer(chat=make is not make_t5)
    model = model if make is make_t5 else ending(model)
    rows = generate(model, tokenizer, make_samples(), DRAWN if drawn else SETTINGS).predictions

    off = 3e-4 if make is make_t5 else 2e-5  # the tiny T5 has logits around fifty
    for row in rows:
        expected = oracle_logprobs(model, row)
        assert row.mean_logprob == pytest.approx(np.mean(expected), abs=off)
        ids = row.prediction_token_ids or ()
        assert len(ids) == row.prediction_tokens
        assert len(row.prompt_token_ids or ()) == row.prompt_tokens
        if ids:
            least = int(np.argmin(expected[: len(ids)]))
            assert row.least_confident_position == least
            assert row.least_confident_logprob == pytest.approx(expected[least], abs=off)
            assert row.least_confident_token == tokenizer.decode([ids[least]])
    if make is make_llama:
        assert {row.finish_reason for row in rows} == {"stop", "length"}


def test_an_answer_that_ends_at_once_has_the_confidence_of_its_end_and_no_least_token() -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    model.lm_head.register_forward_hook(
        lambda _module, _inputs, output: torch.zeros_like(output).index_fill_(-1, torch.tensor([EOS]), 3.0)
    )
    row = generate(model, tokenizer, make_samples("go"), SETTINGS).predictions[0]
    assert (row.prediction, row.prediction_tokens, row.finish_reason) == ("", 0, "stop")
    assert row.mean_logprob == pytest.approx(3.0 - np.log(263 + np.exp(3.0)), abs=1e-6)
    assert (row.least_confident_token, row.least_confident_position) == (None, None)
    assert row.least_confident_logprob is None


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (1.5, 0.7)])
def test_tokens_are_drawn_by_inverting_the_cumulative_distribution(temperature: float, top_p: float) -> None:
    model, tokenizer, samples = ending(make_llama()), make_tokenizer(), make_samples()
    settings = replace(DRAWN, temperature=temperature, top_p=top_p, generations=2)

    rows = generate(model, tokenizer, samples, settings).predictions

    assert [(row.sample_id, row.generation) for row in rows] == [
        (sample.sample_id, generation) for sample in samples for generation in (0, 1)
    ]
    for row in rows:
        numbers = uniforms(5, row.sample_id, row.generation, 12)
        prompt, answer = list(row.prompt_token_ids or ()), []
        for number in numbers:
            shares = (next_logits(model, prompt, answer) / temperature).softmax(-1)
            order = shares.argsort(descending=True)
            before = shares[order].cumsum(-1) - shares[order]
            shares[order[before >= top_p]] = 0.0  # all but the likeliest that together reach top_p
            shares /= shares.sum()
            token = int((shares.cumsum(-1) > number).nonzero()[0])
            if token == EOS:
                break
            answer.append(token)
        assert list(row.prediction_token_ids or ()) == answer


def test_draws_have_the_frequencies_of_the_distribution() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0, -torch.inf, 1.0])
    count = 20_000
    numbers = torch.from_numpy(uniforms(0, "sample", 0, count)).reshape(count, 1)
    scores: Any = logits.repeat(count, 1)
    draw = DrawnTokens(numbers, temperature=1.0, top_p=1.0)

    tokens = draw(torch.zeros(count, 1, dtype=torch.long), scores).argmax(-1)  # type: ignore[arg-type]

    expected = logits.softmax(-1)
    found = torch.bincount(tokens, minlength=5) / count
    deviation = (expected * (1 - expected) / count).sqrt()
    assert ((found - expected).abs() <= 4 * deviation).all()
    kept = torch.tensor(draw.logprobs(1)).squeeze(-1)
    assert torch.allclose(kept, logits.log_softmax(-1)[tokens], atol=1e-6)


@pytest.mark.parametrize("number", [0.0, 1.0 - 2**-53, 1.0])
def test_what_has_no_probability_is_never_drawn(number: float) -> None:
    scores: Any = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    draw = DrawnTokens(torch.tensor([[number]], dtype=torch.float64), temperature=1.0, top_p=1.0)
    token = int(draw(torch.zeros(1, 1, dtype=torch.long), scores).argmax())  # type: ignore[arg-type]
    assert token in (1, 2)


def test_a_draw_does_not_depend_on_what_it_is_drawn_with() -> None:
    model, tokenizer, samples = make_llama(), make_tokenizer(), make_samples()
    settings = replace(DRAWN, generations=3)

    def texts(settings: GenerationSettings, chosen: Any = samples) -> dict[tuple[str, int], str | None]:
        rows = generate(model, tokenizer, chosen, settings).predictions
        return {(row.sample_id, row.generation): row.prediction for row in rows}

    expected = texts(settings)
    assert len(set(expected.values())) == len(expected) == 15
    for rows_in_a_batch in (1, 4, 16):
        assert texts(replace(settings, batch_size=rows_in_a_batch)) == expected
    one = texts(settings, [samples[2]])
    assert one == {key: expected[key] for key in one}
    first = texts(replace(settings, generations=1))
    assert first == {key: text for key, text in expected.items() if key[1] == 0}
    torch.manual_seed(99)
    assert texts(settings) == expected
    assert texts(replace(settings, seed=6)) != expected


def test_several_answers_need_sampling() -> None:
    with pytest.raises(ConfigError, match="3 answers to a sample would all be the same while do_sample"):
        GenerationSettings(generations=3)
    with pytest.raises(ConfigError, match="expected at least 1, got 0"):
        GenerationSettings(generations=0)


@pytest.mark.parametrize("settings", [SETTINGS, DRAWN], ids=["greedy", "drawn"])
def test_outputs_that_are_no_numbers_are_no_answers(settings: GenerationSettings) -> None:
    model, tokenizer = make_llama(), make_tokenizer()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.nan)
    rows = generate(model, tokenizer, make_samples("go", "be"), settings).predictions
    assert [row.error for row in rows] == ["NotANumberError: the model's outputs are not finite numbers"] * 2


def test_token_ids_are_kept_only_on_request() -> None:
    settings = replace(SETTINGS, keep_tokens=False)
    row = generate(make_llama(), make_tokenizer(), make_samples("go"), settings).predictions[0]
    assert (row.prompt_token_ids, row.prediction_token_ids) == (None, None)
    assert row.mean_logprob is not None
