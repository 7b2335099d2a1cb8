import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timelapse.errors import SampleError
from timelapse.samples import LoadReport, Sample, SampleSet, SkippedRow, message_text


def ask(text, **rest):
    return Sample(({"role": "user", "content": text},), **rest)


def test_the_id_depends_on_the_input_and_on_nothing_else():
    tool = {"type": "function", "function": {"name": "look"}}
    plain = ask("go?")
    dressed = ask(
        "go?",
        reference="went",
        reference_message={"role": "assistant", "content": "went"},
        tags=("verb",),
        metadata={"level": 3},
        source="a.jsonl:1",
    )
    assert dressed.sample_id == plain.sample_id
    assert len(plain.sample_id) == 16
    assert int(plain.sample_id, 16) >= 0
    assert ask("go!").sample_id != plain.sample_id
    assert ask("go?", tools=(tool,)).sample_id != plain.sample_id
    assert Sample(({"role": "system", "content": "go?"},)).sample_id != plain.sample_id


def test_the_id_is_the_same_in_every_process_and_release():
    assert ask("What is the past of 'go'?").sample_id == "141f14fe88e06d44"


def test_plain_text_and_a_chat_of_the_same_words_are_different_inputs():
    assert ask("go?", conversational=True).sample_id == ask("go?").sample_id
    assert ask("go?", conversational=False).sample_id != ask("go?").sample_id


def test_a_key_without_value_does_not_change_the_id():
    filled = Sample(({"role": "user", "content": "go?", "tool_calls": None, "name": None},))
    assert filled.sample_id == ask("go?").sample_id


@given(st.text(), st.text() | st.none(), st.dictionaries(st.text(), st.integers()))
@settings(deadline=None, max_examples=50)
def test_no_reference_or_metadata_changes_the_id(text, reference, metadata):
    assert ask(text, reference=reference, metadata=metadata).sample_id == ask(text).sample_id


def test_the_prompt_is_the_question_alone_or_the_transcript():
    system = {"role": "system", "content": "Be terse."}
    first, answer = {"role": "user", "content": "go?"}, {"role": "assistant", "content": "went"}
    assert Sample((system, first)).prompt == "go?"
    assert Sample((system, first, answer, {"role": "user", "content": "see?"})).prompt == (
        "user: go?\nassistant: went\nuser: see?"
    )
    assert Sample(()).prompt == ""


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        ({"role": "user", "content": "hi"}, "hi"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]},
            "ab",
        ),
        ({"role": "assistant", "content": "", "tool_calls": [{"name": "ö"}]}, '[{"name": "ö"}]'),
        ({"role": "assistant", "content": None}, ""),
        ({"role": "user", "content": [{"type": "image", "text": None}]}, ""),
    ],
)
def test_the_text_of_a_turn(turn, text):
    assert message_text(turn) == text


def test_a_set_holds_each_input_once():
    with pytest.raises(SampleError, match=r"Samples 0 and 2 of set 'probe' ask the same: 'go\?'"):
        SampleSet((ask("go?", reference="went"), ask("see?"), ask("go?", reference="gone")), name="probe")


def test_a_set_is_a_sequence_in_its_own_order():
    samples = SampleSet((ask("b"), ask("a"), ask("c")))
    assert [sample.prompt for sample in samples] == ["b", "a", "c"]
    assert len(samples) == 3
    assert samples[1].prompt == "a"
    assert [sample.prompt for sample in samples[1:]] == ["a", "c"]
    assert samples.name == "main"


def test_the_fingerprint_covers_inputs_references_and_order_only():
    one, two = ask("a", reference="1"), ask("b", reference="2")
    fingerprint = SampleSet((one, two)).fingerprint
    assert (
        SampleSet((ask("a", reference="1", tags=("x",), source="f:1"), two), name="probe").fingerprint
        == fingerprint
    )
    assert SampleSet((two, one)).fingerprint != fingerprint
    assert SampleSet((one, ask("b", reference="3"))).fingerprint != fingerprint
    assert SampleSet((one,)).fingerprint != fingerprint


@given(st.integers(1, 40), st.integers(0, 50), st.integers())
@settings(deadline=None, max_examples=50)
def test_a_draw_is_repeatable_ordered_and_leaves_global_randomness_alone(size, count, seed):
    samples = SampleSet(tuple(ask(f"question {number}") for number in range(size)), name="probe")
    before = random.getstate()
    drawn = samples.draw(count, seed)
    assert random.getstate() == before
    random.seed(size)  # another global state gives the same draw
    assert samples.draw(count, seed) == drawn
    random.setstate(before)
    assert len(drawn) == min(count, size)
    places = [samples.samples.index(sample) for sample in drawn]
    assert places == sorted(set(places))
    assert drawn.name == "probe"


def test_other_seeds_draw_other_samples():
    samples = SampleSet(tuple(ask(f"question {number}") for number in range(100)))
    draws = {tuple(sample.prompt for sample in samples.draw(5, seed)) for seed in range(10)}
    assert len(draws) == 10


def test_a_report_says_what_was_left_out():
    skipped = tuple(SkippedRow(f"line {number}", "blank line") for number in range(1, 13))
    assert str(LoadReport("a.jsonl", "dpo", 20)) == "a.jsonl: 20 of 20 rows usable, format dpo"
    text = str(LoadReport("a.jsonl", "dpo", 20, skipped))
    assert text.startswith(
        "a.jsonl: 8 of 20 rows usable, format dpo; skipped 12: line 1: blank line; line 2:"
    )
    assert text.endswith("line 10: blank line; and 2 more")
