import csv
import json
import random
from itertools import count

import datasets
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timelapse.errors import SampleError
from timelapse.formats.adapters import FORMATS
from timelapse.formats.fields import FieldMapping
from timelapse.formats.loading import load_samples, read_examples
from timelapse.samples import Sample, SampleSet

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **rest):
    return {"role": "assistant", "content": text, **rest}


def system(text):
    return {"role": "system", "content": text}


def only(row, **options):
    (sample,) = load_samples([row], **options)
    return sample


def fault(source, **options):
    with pytest.raises(SampleError) as caught:
        load_samples(source, **options)
    return str(caught.value)


def skipped(source, **options):
    return [(row.place, row.reason) for row in load_samples(source, **options).report.skipped]


# --- no answer in any prompt: random content in every format -----------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ASKED = TEXT.map(lambda text: text + "¿ask\n?")
TOKENS = count()
# The token makes containment mean something: "a" stands in most prompts, this in none but by a leak.
ANSWER = st.tuples(TEXT, TEXT).map(lambda ends: f"{ends[0]}‹answer-{next(TOKENS)}›{ends[1]}")
CHAT = st.lists(st.tuples(ASKED, TEXT), max_size=3)


def earlier(turns):
    return [turn for asked, said in turns for turn in (user(asked), assistant(said))]


def from_value(turn):
    return {"from": {"user": "human", "assistant": "gpt"}[turn["role"]], "value": turn["content"]}


def chat_row(asked, answer, turns, after):
    return {"messages": [*earlier(turns), user(asked), assistant(answer), *after], "tools": [TOOL], "kept": 1}


def chosen(asked, answer):
    return {"chosen": [user(asked), assistant(answer)], "rejected": [user(asked), assistant("no")], "kept": 1}


ROWS = {
    "messages": [
        lambda q, a, turns: chat_row(q, a, turns, []),
        lambda q, a, turns: chat_row(q, a, turns, [user("thanks")]),
        lambda q, a, turns: {
            **chat_row(q, a, turns, []),
            "messages": json.dumps(chat_row(q, a, turns, [])["messages"]),
        },
    ],
    "sharegpt": [
        lambda q, a, turns: {
            "conversations": [from_value(turn) for turn in (*earlier(turns), user(q), assistant(a))],
            "system": "Be kind.",
            "kept": 1,
        }
    ],
    "dpo": [
        lambda q, a, turns: {"prompt": q, "chosen": a, "rejected": "no", "kept": 1},
        lambda q, a, turns: chosen(q, a),
        lambda q, a, turns: {**chosen(q, a), "prompt": q},
        lambda q, a, turns: {**chosen(q, a), "prompt": [user(q)]},
        lambda q, a, turns: {**chosen(q, a), "prompt": [user(q), assistant(a)]},
        lambda q, a, turns: {**chosen(q, a), "prompt": [*earlier(turns), user(q)], "chosen": [assistant(a)]},
    ],
    "alpaca": [
        lambda q, a, turns: {"instruction": q, "input": turns[0][0] if turns else "", "output": a, "kept": 1},
        lambda q, a, turns: {"instruction": q, "output": a, "system": "Be kind.", "kept": 1},
    ],
    "question_answer": [lambda q, a, turns: {"question": q, "answer": a, "kept": 1}],
    "prompt_completion": [
        lambda q, a, turns: {"prompt": q, "completion": a, "kept": 1},
        lambda q, a, turns: {"prompt": [*earlier(turns), user(q)], "response": [assistant(a)], "kept": 1},
        lambda q, a, turns: {"prompt": [user(q)], "completion": a, "kept": 1},
    ],
    "input_output": [lambda q, a, turns: {"input": q, "output": a, "kept": 1}],
}
MAPPINGS = [
    (FieldMapping(prompt="q", reference="a"), lambda q, a, turns: {"q": q, "a": a}),
    (FieldMapping(prompt=("q", "more"), reference="a"), lambda q, a, turns: {"more": "…", "q": q, "a": a}),
    (FieldMapping(text="t", split="### A:"), lambda q, a, turns: {"t": f"{q}### A:{a}"}),
    (FieldMapping(text="t", split="### A:"), lambda q, a, turns: {"t": f"### A: old ### Q: {q}### A:{a}"}),
    (FieldMapping(messages="m"), lambda q, a, turns: {"m": chat_row(q, a, turns, [])["messages"]}),
    (
        FieldMapping(messages="m", reference="a"),
        lambda q, a, turns: {"m": [*earlier(turns), user(q)], "a": a},
    ),
    (
        FieldMapping(messages="m", reference="a"),
        lambda q, a, turns: {"m": chat_row(q, a, turns, [user("so")])["messages"], "a": a},
    ),
]


def assert_no_answer(sample):
    seen = json.dumps([sample.prompt, list(sample.messages), list(sample.tools)], ensure_ascii=False)
    assert "‹answer-" not in seen.casefold()
    assert sample.messages[-1]["role"] != "assistant"


def assert_asked_without_answer(sample, asked, answer):
    assert_no_answer(sample)
    assert sample.reference == answer
    assert any(asked in turn["content"] for turn in sample.messages)
    kept = {
        name: cell
        for name, cell in sample.metadata.items()
        if name not in ("rejected", "messages_after_reference")
    }
    assert "‹answer-" not in json.dumps(kept, ensure_ascii=False)


def test_every_format_with_an_answer_is_in_the_property_below():
    assert [*ROWS, "prompt_only"] == [known.name for known in FORMATS]


@pytest.mark.parametrize(("name", "shape"), [(name, shape) for name in ROWS for shape in ROWS[name]])
@given(asked=ASKED, answer=ANSWER, turns=CHAT)
@settings(deadline=None, max_examples=50)
def test_no_reference_is_in_a_prompt(name, shape, asked, answer, turns):
    samples = load_samples([shape(asked, answer, turns)])
    assert samples.report.format == name
    assert_asked_without_answer(samples[0], asked, answer)
    assert samples[0].metadata["kept"] == 1
    other = load_samples([shape(asked, "another answer", turns)])
    assert other[0].sample_id == samples[0].sample_id


@pytest.mark.parametrize(("fields", "shape"), MAPPINGS)
@given(asked=ASKED.filter(lambda text: "###" not in text), answer=ANSWER, turns=CHAT)
@settings(deadline=None, max_examples=50)
def test_no_reference_is_in_a_mapped_prompt(fields, shape, asked, answer, turns):
    samples = load_samples([shape(asked, answer, turns)], fields=fields)
    assert samples.report.format == "fields"
    assert_asked_without_answer(samples[0], asked, answer)


SPELLINGS = {
    "user": ["user", "User", "human", "HUMAN", " user\n"],
    "assistant": ["assistant", "Assistant", "model", "GPT", "gpt ", "bot", "AI", "ChatGPT", "bard", "Bing"],
}
SPELLINGS["assistant"] += ["claude", "Claude"]
WHITE = ["", " ", "\n", "\t\r\n", "\u00a0 "]


def spelled(turns, chance):
    """The same turns under other names for roles and keys."""
    return [
        {
            chance.choice(["role", "from"]): chance.choice(SPELLINGS[turn["role"]]),
            chance.choice(["content", "value"]): turn["content"],
        }
        for turn in turns
    ]


# Each is given the turns up to the question, the answer, and the answer's turn with other white space.
SPELLED = {
    "messages": lambda asked, a, turn: {"messages": [*asked, turn]},
    "messages, thanked": lambda asked, a, turn: {"messages": [*asked, turn, user("thanks")]},
    "sharegpt": lambda asked, a, turn: {"conversations": [*asked, turn]},
    "dpo": lambda asked, a, turn: {"chosen": [*asked, turn], "rejected": [*asked, assistant("no")]},
    "dpo, prompt": lambda asked, a, turn: {"prompt": asked, "chosen": [*asked, turn], "rejected": None},
    "completion": lambda asked, a, turn: {"prompt": asked, "completion": [turn]},
    "completion, repeated": lambda asked, a, turn: {"prompt": [*asked, turn], "completion": [assistant(a)]},
    "prompt only": lambda asked, a, turn: {"prompt": [*asked, turn]},
    "fields": lambda asked, a, turn: {"m": [*asked, turn], "a": a},
    "fields, thanked": lambda asked, a, turn: {"m": [*asked, turn, user("thanks")], "a": a},
    "fields, turns": lambda asked, a, turn: {"m": [*asked, turn, user("thanks")], "a": [assistant(a)]},
}


@pytest.mark.parametrize("name", SPELLED)
@given(asked=ASKED, answer=ANSWER, turns=CHAT, chance=st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_no_spelling_of_roles_no_white_space_and_no_table_lets_the_answer_in(
    tmp_path_factory, name, asked, answer, turns, chance
):
    said = assistant(chance.choice(WHITE) + answer + chance.choice(WHITE))
    row = SPELLED[name]([*earlier(turns), user(asked)], answer, said)
    row = {key: spelled(cell, chance) if isinstance(cell, list) else cell for key, cell in row.items()}
    fields = {"messages": "m", "reference": "a"} if "m" in row else None
    path = tmp_path_factory.getbasetemp() / "spelled.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(row)
        writer.writerow(json.dumps(cell) if isinstance(cell, list) else cell for cell in row.values())
    read = [only(row, fields=fields), load_samples(path, fields=fields)[0]]
    for sample in read:
        assert_no_answer(sample)
        assert sample.messages == (*earlier(turns), user(asked))
        assert sample.reference.strip() == answer.strip()
    assert read[0].sample_id == read[1].sample_id


# --- the formats, one by one -------------------------------------------------------------------------------


def test_messages_split_at_the_last_assistant_turn():
    chat = [system(""), user("go?"), assistant("went"), user("see?"), assistant("saw"), user("thanks")]
    sample = only({"messages": chat, "level": 2, "empty": None})
    assert sample.messages == tuple(chat[:4])
    assert sample.reference == "saw"
    assert sample.reference_message is None
    assert sample.metadata == {"level": 2, "empty": None, "messages_after_reference": [user("thanks")]}
    assert sample.conversational


def test_messages_without_assistant_have_no_reference():
    sample = only({"messages": [system("Be terse."), user("go?")]})
    assert sample.messages == (system("Be terse."), user("go?"))
    assert sample.reference is None


def test_a_tool_call_is_the_reference_with_its_whole_turn():
    call = {"role": "assistant", "tool_calls": [CALL]}
    result = {"role": "tool", "name": "look", "content": "blue"}
    sample = only(
        {"messages": [user("colour?"), {**call, "content": None}, result], "tools": json.dumps([TOOL])}
    )
    assert sample.messages == (user("colour?"),)
    assert json.loads(sample.reference) == [CALL]
    assert sample.reference_message == call
    assert sample.tools == (TOOL,)
    assert sample.metadata == {"messages_after_reference": [result]}


def test_what_arrow_fills_in_changes_nothing(tmp_path):
    chat = [
        user("colour?"),
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "content": "blue"},
        assistant("Blue"),
    ]
    row = {"messages": chat, "tools": [TOOL]}
    datasets.Dataset.from_list([row]).to_parquet(tmp_path / "chat.parquet")
    samples = [
        only(row),
        load_samples(tmp_path / "chat.parquet")[0],
        load_samples(datasets.Dataset.from_list([row]))[0],
        load_samples(pd.read_parquet(tmp_path / "chat.parquet"))[0],
    ]
    assert {sample.sample_id for sample in samples} == {samples[0].sample_id}
    assert all(sample.messages == tuple(chat[:3]) and sample.tools == (TOOL,) for sample in samples)


def test_chats_in_csv_cells_are_json(tmp_path):
    chat = [user('say "a",\nb'), assistant("c")]
    frame = pd.DataFrame(
        {"messages": [json.dumps(chat), "[{'role': 'user'}]"], "tools": [json.dumps([TOOL]), None]}
    )
    frame.to_csv(tmp_path / "chat.csv", index=False)
    samples = load_samples(tmp_path / "chat.csv")
    assert samples[0].messages == (chat[0],)
    assert samples[0].tools == (TOOL,)
    assert samples.report.skipped[0].place == "line 3"
    assert samples.report.skipped[0].reason.startswith("'messages' is text that is not valid JSON (")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": []}, "the prompt is empty"),
        ({"messages": [assistant("went")]}, "the prompt is empty"),
        ({"messages": [user(" \n"), assistant("went")]}, "the prompt is empty"),
        ({"messages": [user("go?"), assistant("went"), user(""), assistant("x")]}, "the prompt is empty"),
        ({"messages": 3}, "'messages' is a number, not a list of turns"),
        ({"messages": ["go?"]}, "turn 1 of 'messages' is text, not an object"),
        ({"messages": [user("go?"), {"content": "x"}]}, "turn 2 of 'messages' has no role"),
        ({"messages": [user("go?"), {"role": "assistant"}]}, "turn 2 of 'messages' has no content"),
        ({"messages": [user(7)]}, "the content of turn 1 of 'messages' is a number, not text"),
        ({"messages": None}, "no 'messages'"),
        ({"messages": [user("go?")], "tools": 3}, "'tools' is a number, not a list of tool descriptions"),
        (
            {"messages": [user("go?")], "tools": [3]},
            "'tools' holds something else than tool descriptions (objects)",
        ),
    ],
)
def test_chats_that_are_skipped(row, reason):
    assert skipped([{"messages": [user("fine")]}, row]) == [("item 2", reason)]


def test_sharegpt_speakers_become_roles():
    said = [("system", "s"), ("human", "h"), ("function_call", "f"), ("observation", "o"), ("gpt", "g")]
    said += [("user", "u"), ("bing", "b"), ("tool", "t"), ("chatgpt", "c"), ("Human", "x"), ("model", "m")]
    sample = only({"conversations": [{"from": who, "value": text} for who, text in said], "id": "7"})
    roles = [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert [(turn["role"], turn["content"]) for turn in sample.messages] == list(
        zip(roles, "shfogubtcx", strict=True)
    )
    assert sample.reference == "m"
    assert sample.metadata == {"id": "7"}


def test_sharegpt_system_and_tools_and_unknown_speakers():
    chat = [{"from": "human", "value": "go?"}, {"from": "gpt", "value": "went"}]
    sample = only({"conversations": chat, "system": "Be terse.", "tools": [TOOL]})
    assert sample.messages == (system("Be terse."), user("go?"))
    assert (sample.tools, sample.metadata) == ((TOOL,), {})
    own = only({"conversations": [{"from": "system", "value": "mine"}, *chat], "system": "other"})
    assert own.messages == (system("mine"), user("go?"))
    assert own.metadata == {"system": "other"}
    narrated = {"conversations": [{"from": "narrator", "value": "x"}, *chat]}
    ((place, reason),) = skipped([{"conversations": chat}, narrated])
    assert place == "item 2"
    assert reason.startswith(
        "turn 1 of 'conversations' is from 'narrator'; known are system, developer, user,"
    )


def test_dpo_takes_the_chosen_answer_and_keeps_the_rejected_one():
    sample = only({"prompt": " go?\n", "chosen": "went", "rejected": "goed", "score": 1})
    assert sample.messages == (user(" go?\n"),)
    assert sample.reference == "went"
    assert sample.metadata == {"rejected": "goed", "score": 1}
    assert not sample.conversational


@pytest.mark.parametrize(
    ("prompt", "chosen_turns", "asked"),
    [
        (None, [user("go?"), assistant("went")], [user("go?")]),
        ("go?", [user("go?"), assistant("went")], [user("go?")]),
        ("go?", [assistant("went")], [user("go?")]),
        ("go?", assistant("went"), [user("go?")]),
        ("go?", [system("s"), user("go?"), assistant("went")], [system("s"), user("go?")]),
        ([system("s"), user("go?")], [user("go?"), assistant("went")], [system("s"), user("go?")]),
        ([user("go?")], [user("go?"), assistant("went")], [user("go?")]),
        ([user("go?")], "went", [user("go?")]),
        ([user("go?"), assistant("went")], "went", [user("go?")]),
        (
            [user("go?")],
            [assistant("a"), user("b"), assistant("went")],
            [user("go?"), assistant("a"), user("b")],
        ),
    ],
)
def test_dpo_chats_do_not_repeat_the_prompt(prompt, chosen_turns, asked):
    sample = only(
        {"prompt": prompt, "chosen": chosen_turns, "rejected": [assistant("goed")], "tools": [TOOL]}
    )
    assert sample.messages == tuple(asked)
    assert sample.reference == "went"
    assert sample.conversational
    assert sample.metadata == {"rejected": [assistant("goed")]}
    assert sample.tools == (TOOL,)


def test_dpo_rows_that_are_skipped():
    good = {"prompt": "go?", "chosen": "went", "rejected": "goed"}
    rows = [good, {"chosen": "H: go? A: went", "rejected": "H: go? A: goed"}, {**good, "rejected": None}]
    rows += [{**good, "chosen": [user("go?")]}, {**good, "prompt": 4}]
    assert skipped(rows) == [
        (
            "item 2",
            "no 'prompt', and 'chosen' is no chat that holds it (prompt under another name, or one text "
            "with a marker before the answer: map the fields)",
        ),
        ("item 3", "same input as item 1"),
        ("item 4", "'chosen' has no assistant turn"),
        ("item 5", "'prompt' is a number, not text"),
    ]


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        ({}, [user("Past tense.")]),
        ({"input": ""}, [user("Past tense.")]),
        ({"input": None}, [user("Past tense.")]),
        ({"input": "go"}, [user("Past tense.\n\ngo")]),
        ({"input": "go", "system": "s"}, [system("s"), user("Past tense.\n\ngo")]),
        ({"system": ""}, [user("Past tense.")]),
    ],
)
def test_alpaca_with_and_without_input(extra, asked):
    sample = only({"instruction": "Past tense.", "output": "went", "id": 1, **extra})
    assert sample.messages == tuple(asked)
    assert (sample.reference, sample.metadata, sample.conversational) == ("went", {"id": 1}, True)


def test_question_answer_keeps_other_columns():
    sample = only({"question": "go?", "answer": "went", "context": "verbs", "tags": ["past", "irregular"]})
    assert sample.messages == (user("go?"),)
    assert (sample.reference, sample.conversational) == ("went", True)
    assert sample.metadata == {"context": "verbs"}
    assert sample.tags == ("past", "irregular")
    assert only({"question": "go?", "answer": "went", "tags": "past"}).tags == ("past",)
    assert only({"question": "go?", "answer": "went", "tags": {"n": 1}}).metadata == {"tags": {"n": 1}}


def test_prompt_completion_is_plain_text_kept_character_for_character():
    sample = only({"prompt": "  The sky is ", "completion": " blue\n", "response": "other"})
    assert sample.messages == (user("  The sky is "),)
    assert (sample.reference, sample.conversational) == (" blue\n", False)
    assert sample.metadata == {"response": "other"}
    assert only({"prompt": "The sky", "response": "is blue"}).reference == "is blue"


def test_prompt_completion_of_turns_is_a_chat():
    sample = only({"prompt": [user("go?")], "completion": [assistant("went"), user("ok")]})
    assert (sample.messages, sample.reference, sample.conversational) == ((user("go?"),), "went", True)
    assert sample.metadata == {"messages_after_reference": [user("ok")]}


def test_input_output_and_prompt_only():
    pair = only({"input": "go?", "output": "went"})
    assert (pair.messages, pair.reference, pair.conversational) == ((user("go?"),), "went", True)
    bare = only({"prompt": "The sky is"})
    assert (bare.messages, bare.reference, bare.conversational) == ((user("The sky is"),), None, False)
    chat = only({"prompt": [user("go?")], "tools": [TOOL]})
    assert (chat.messages, chat.tools, chat.conversational) == ((user("go?"),), (TOOL,), True)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (42, "42"),
        (0, "0"),
        (1.5, "1.5"),
        (False, "False"),
        ({"ä": [1]}, '{"ä": [1]}'),
        (["x"], '["x"]'),
        ("", ""),
    ],
)
def test_answers_become_text(answer, text):
    assert only({"question": "?!", "answer": answer}).reference == text


def test_rows_without_prompt_or_answer_are_skipped():
    rows = [{"question": "go?", "answer": "went"}, {"question": "go!", "answer": None}, {"question": "see?"}]
    rows += [{"question": " ", "answer": "x"}, {"answer": "x"}, {"question": 4, "answer": "x"}]
    assert skipped(rows) == [
        ("item 2", "no 'answer'"),
        ("item 3", "no 'answer'"),
        ("item 4", "'question' is blank"),
        ("item 5", "no 'question'"),
        ("item 6", "'question' is a number, not text"),
    ]


@pytest.mark.parametrize("key", ["role", "from"])
@pytest.mark.parametrize(
    "role", ["Assistant", "model", "GPT", "bot", "ai", "ChatGPT", "bard", "bing", "claude "]
)
def test_every_spelling_of_the_assistant_is_the_answer(role, key):
    said = {key: role, "value": "went"}
    for row in (
        {"messages": [user("go?"), said]},
        {"conversations": [user("go?"), said]},
        {"prompt": "go?", "chosen": [said]},
        {"prompt": [user("go?")], "completion": [said]},
        {"prompt": [user("go?"), said]},
    ):
        sample = only(row)
        assert (sample.messages, sample.reference) == ((user("go?"),), "went")
    mapped = only(
        {"m": [user("go?"), said, user("ok")], "a": "went"}, fields={"messages": "m", "reference": "a"}
    )
    assert mapped.messages == (user("go?"),)


@pytest.mark.parametrize(
    ("chat", "turn"),
    [
        ([user("go?"), {"role": "Expert", "content": "went"}], 2),
        ([user("go?"), {"role": "Expert", "content": "went"}, user("thanks")], 2),
        ([user("a"), assistant("b"), user("go?"), {"role": "Expert", "content": "went"}], 4),
    ],
)
def test_an_unknown_role_that_may_be_the_answer_is_skipped(chat, turn):
    for column in ("messages", "conversations", "prompt"):
        ((_, reason),) = skipped([{column: [user("fine")]}, {column: chat}])
        assert reason.startswith(
            f"turn {turn} of '{column}' has the role 'Expert'; known are system, developer,"
        )
        assert "assistant, gpt, model, bot," in reason


def test_an_unknown_role_in_the_history_is_the_templates_business():
    chat = [{"role": "documents", "content": "d"}, user("go?"), assistant("went")]
    assert only({"messages": chat}).messages == tuple(chat[:2])
    open_end = [{"role": "documents", "content": "d"}, user("go?")]
    assert only({"messages": open_end}).messages == tuple(open_end)


@pytest.mark.parametrize("said", ["went", " went\n", "WENT", "w e n t"])
@pytest.mark.parametrize("after", [[], [system("note")]])
def test_a_prompt_that_holds_the_answer_is_cut_before_it(said, after):
    prompt = [user("go?"), assistant(said), *after]
    for row in (
        {"prompt": prompt, "completion": "went"},
        {"prompt": prompt, "chosen": [assistant("went")], "rejected": "goed"},
        {"prompt": json.dumps(prompt), "response": "went"},
    ):
        sample = only(row)
        assert (sample.messages, sample.reference) == ((user("go?"),), "went")
        assert sample.metadata.get("messages_after_reference", []) == after
    mapped = only({"m": prompt, "a": "went"}, fields={"messages": "m", "reference": "a"})
    assert (mapped.messages, mapped.reference) == ((user("go?"),), "went")


def test_no_prompt_ends_with_an_assistant_turn():
    chat = [user("go?"), assistant("Let me see."), assistant("went")]
    sample = only({"messages": chat})
    assert (sample.messages, sample.reference) == ((chat[0],), "went")
    assert sample.metadata == {"messages_before_reference": [chat[1]]}
    other = only({"prompt": chat, "completion": "gone"})
    assert (other.messages, other.reference) == ((chat[0],), "gone")
    assert other.metadata == {"messages_after_reference": chat[1:]}
    bare = only({"prompt": chat[::2]})
    assert (bare.messages, bare.reference, bare.metadata) == ((chat[0],), "went", {})
    whole = [*chat[::2], user("see?")]
    assert (only({"prompt": whole}).messages, only({"prompt": whole}).reference) == (tuple(whole), None)


def test_prompts_and_answers_in_csv_cells_may_be_chats(tmp_path):
    prompt, answer = [system("s"), user('say "a",\nb')], [assistant("c")]
    rows = [{"prompt": json.dumps(prompt), "chosen": json.dumps(answer), "rejected": json.dumps([user("d")])}]
    rows += [
        {**rows[0], "prompt": str([user("x")])},
        {**rows[0], "prompt": "p", "chosen": '[{"from": "Paris"}]'},
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "pairs.csv", index=False)
    samples = load_samples(tmp_path / "pairs.csv")
    assert (samples[0].messages, samples[0].reference, samples[0].conversational) == (
        tuple(prompt),
        "c",
        True,
    )
    assert (samples[1].reference, samples[1].conversational) == ('[{"from": "Paris"}]', False)
    assert samples.report.skipped[0].reason.startswith(
        "'prompt' is chat turns as text that is not valid JSON"
    )


def test_a_chat_where_text_is_expected_is_skipped():
    chat = json.dumps([user("go?"), assistant("went")])
    fine = {"question": "a", "answer": "b"}
    assert skipped([fine, {"question": chat, "answer": "went"}]) == [
        ("item 2", "'question' is a chat, not text")
    ]
    assert skipped([fine, {"question": chat, "answer": "x"}], fields={"prompt": "question"}) == [
        ("item 2", "'question' is a chat, not text")
    ]
    assert only({"question": "go?", "answer": chat}).reference == "went"


def test_a_system_column_is_part_of_every_conversation():
    for row in (
        {"messages": [user("go?"), assistant("went")]},
        {"conversations": [user("go?"), assistant("went")]},
        {"prompt": [user("go?")], "chosen": [assistant("went")]},
        {"prompt": [user("go?")], "completion": "went"},
        {"prompt": [user("go?")]},
        {"question": "go?", "answer": "went"},
        {"input": "go?", "output": "went"},
        {"instruction": "go?", "output": "went"},
    ):
        sample = only({**row, "system": "Be terse."})
        assert (sample.messages, sample.metadata) == ((system("Be terse."), user("go?")), {})
    own = only({"messages": [system("mine"), user("go?")], "system": "other"})
    assert (own.messages, own.metadata) == ((system("mine"), user("go?")), {"system": "other"})
    plain = only({"prompt": "go?", "completion": "went", "system": "s"})
    assert (plain.messages, plain.metadata) == ((user("go?"),), {"system": "s"})


def test_preferences_without_a_rejected_answer():
    for row in (
        {"chosen": "went", "rejected": None, "prompt": "go?"},
        {"chosen": "went", "prompt": "go?"},
        {"chosen": [user("go?"), assistant("went")], "rejected": None},
        {"chosen": json.dumps([user("go?"), assistant("went")])},
    ):
        samples = load_samples([row])
        assert samples.report.format == "dpo"
        assert (samples[0].messages, samples[0].reference) == ((user("go?"),), "went")
    marked = {"prompt": "go?", "completion": "went", "chosen": "no"}
    assert load_samples([marked]).report.format == "prompt_completion"
    assert (
        load_samples([{"question": "go?", "answer": "went", "chosen": True}]).report.format
        == "question_answer"
    )


@pytest.mark.parametrize(
    ("prompt", "chosen_text", "reference"),
    [
        ("H: go?\nA:", "H: go?\nA: went", " went"),
        (" H: go?\nA: ", "\nH: go?\nA: went", " went"),
        ("go?", "went", "went"),
        ("go?", "go?", "go?"),
    ],
)
def test_a_preferred_text_that_repeats_the_prompt(prompt, chosen_text, reference):
    sample = only({"prompt": prompt, "chosen": chosen_text, "rejected": prompt + " goed"})
    assert (sample.messages, sample.reference) == ((user(prompt),), reference)
    assert sample.metadata == {"rejected": prompt + " goed"}


def test_a_null_among_the_arguments_of_a_tool_call_stays(tmp_path):
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": None}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"default": None}}}
    chat = [
        user("a?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        user("b?"),
        assistant("c"),
    ]
    (tmp_path / "chat.json").write_text(json.dumps([{"messages": chat, "tools": [tool]}]))
    for sample in (only({"messages": chat, "tools": [tool]}), load_samples(tmp_path / "chat.json")[0]):
        assert sample.messages[1] == {"role": "assistant", "tool_calls": [call]}
        assert sample.tools == (tool,)


def test_metadata_from_arrow_stays_untouched():
    rows = [
        {"question": f"{n}?", "answer": "x", "about": about} for n, about in enumerate(({"a": 1}, {"b": 2}))
    ]
    assert load_samples(datasets.Dataset.from_list(rows))[0].metadata == {"about": {"a": 1, "b": None}}


# --- the field mapping -------------------------------------------------------------------------------------


def test_a_mapping_joins_columns_and_names_the_rest():
    fields = {"prompt": ["context", "q"], "reference": "a", "system": "s", "tools": "fns", "tags": "kind"}
    row = {
        "context": "Verbs.",
        "q": "go?",
        "a": 3,
        "s": "Be terse.",
        "fns": [TOOL],
        "kind": "past",
        "tags": 1,
        "x": 2,
    }
    sample = only(row, fields=fields)
    assert sample.messages == (system("Be terse."), user("Verbs.\n\ngo?"))
    assert (sample.reference, sample.tools, sample.tags) == ("3", (TOOL,), ("past",))
    assert sample.metadata == {"tags": 1, "x": 2}
    assert sample.conversational
    assert only({**row, "context": ""}, fields=fields).prompt == "go?"
    assert not only(row, fields={"prompt": "q", "conversational": False}).conversational


def test_a_text_is_split_after_the_last_marker():
    text = "### Q: go? ### A: went ### Q: see? ### A: saw"
    fields = {"text": "t", "split": "### A:"}
    sample = only({"t": text, "id": 1}, fields=fields)
    assert sample.messages == (user("### Q: go? ### A: went ### Q: see? ### A:"),)
    assert (sample.reference, sample.conversational, sample.metadata) == (" saw", False, {"id": 1})
    rows = [{"t": text}, {"t": "no marker"}, {"t": "go? ### A: \n"}, {"t": "### A: went"}, {"t": None}]
    assert skipped(rows, fields=fields) == [
        ("item 2", "'t' has no marker '### A:'"),
        ("item 3", "'t' has nothing after the marker '### A:'"),
        ("item 4", "'t' has nothing before the marker '### A:'"),
        ("item 5", "no 't'"),
    ]


def test_mapped_messages_with_a_reference_of_their_own():
    fields = {"messages": "chat", "reference": "gold", "system": "s"}
    chat = [user("go?"), assistant("goed"), user("sure?")]
    whole = only({"chat": chat, "gold": "went", "s": "Be terse."}, fields=fields)
    assert (whole.messages, whole.reference) == ((system("Be terse."), *chat), "went")
    cut = only({"chat": chat[:2], "gold": "went", "s": None}, fields=fields)
    assert (cut.messages, cut.reference) == ((user("go?"),), "went")
    assert cut.metadata == {"messages_after_reference": [assistant("goed")]}
    own = only({"chat": [system("mine"), user("go?")], "gold": "went", "s": "other"}, fields=fields)
    assert (own.messages[0], own.metadata) == (system("mine"), {"s": "other"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"promt": "q"},
            "fields.promt is not known. Did you mean 'prompt'? Known: prompt, reference, system,",
        ),
        ({}, "fields needs exactly one of prompt, messages and text; given: none."),
        (
            {"prompt": "q", "messages": "m"},
            "exactly one of prompt, messages and text; given: prompt, messages.",
        ),
        ({"text": "t"}, "fields.text and fields.split need each other"),
        ({"prompt": "q", "split": "x"}, "fields.text and fields.split need each other"),
        ({"text": "t", "split": "x", "reference": "a"}, "fields.reference does not go with fields.text"),
        ({"prompt": "q", "reference": "q"}, "fields maps the column 'q' twice."),
        (
            {"text": "t", "split": "x", "system": "s"},
            "fields.system needs a chat, but the prompt is plain text.",
        ),
        ({"messages": "m", "conversational": False}, "fields.messages needs a chat"),
        ({"prompt": 3}, "fields.prompt is 3. Expected a column name or a list of them."),
        ({"prompt": []}, "fields.prompt is []. Expected a column name or a list of them."),
        ({"prompt": ["q", None, 3]}, "fields.prompt is 3. Expected a column name"),
        ({"prompt": "q", "tags": ""}, "fields.tags is ''. Expected a text that is not empty."),
        ({"prompt": "q", "conversational": "no"}, "fields.conversational is 'no'. Expected true or false."),
    ],
)
def test_a_mapping_that_cannot_be(fields, message):
    assert message in fault([{"q": "x"}], fields=fields)


def test_mapped_columns_that_are_not_there():
    rows = [{"question": "go?", "b": 1}, {"a": 2}]
    assert fault(rows, fields={"prompt": "qestion"}) == (
        "The list has no column 'qestion', which the field mapping names. Did you mean 'question'? "
        "Columns seen: a, b, question."
    )


# --- detection, reports, limits ----------------------------------------------------------------------------


def test_an_unknown_format_lists_fields_and_formats(tmp_path):
    path = tmp_path / "eval.csv"
    path.write_text("what,Answer\ngo?,went\n")
    assert fault(path) == (
        f"{path} is of no known format. Fields seen: Answer, what. The first line of such a file must name "
        "the columns. Known formats: messages (messages); sharegpt (conversations); dpo (chosen); "
        "alpaca (instruction, output); question_answer (question, answer); prompt_completion "
        "(prompt, completion or response); input_output (input, output); prompt_only (prompt). "
        "Rename the fields, or say which is "
        'what with a field mapping: fields={"prompt": "…", "reference": "…"}.'
    )


def test_most_rows_decide_and_the_most_telling_format_wins():
    pairs = [{"input": f"a{n}", "output": "x"} for n in range(3)]
    questions = [{"question": f"q{n}", "answer": "x"} for n in range(2)]
    assert load_samples(questions + pairs).report.format == "input_output"
    tie = load_samples(pairs[:2] + questions)
    assert (tie.report.format, len(tie)) == ("question_answer", 2)
    both = {"instruction": "i", "input": "j", "output": "o", "prompt": "i\n\nj", "text": "…"}
    assert load_samples([both]).report.format == "alpaca"
    late = [{"question": "q", "answer": "x"}] * 100 + [{"input": f"a{n}", "output": "x"} for n in range(300)]
    assert load_samples(late).report.format == "question_answer"


def test_prompts_without_answer_do_not_hide_the_answers_of_others():
    rows = [{"prompt": f"p{n}"} for n in range(5)] + [{"prompt": "p", "completion": "x"}]
    samples = load_samples(rows)
    assert samples.report.format == "prompt_completion"  # though most rows look like prompt_only
    assert [sample.reference for sample in samples] == ["x"]
    assert {row.reason for row in samples.report.skipped} == {"no 'completion'"}


def test_a_format_may_be_named():
    row = {"instruction": "i", "input": "j", "output": "o"}
    sample = only(row, format="input_output")
    assert (sample.prompt, sample.metadata) == ("j", {"instruction": "i"})
    assert fault([row], format="alpacca").startswith(
        "The format 'alpacca' is not known. Did you mean 'alpaca'? Known: messages, sharegpt, dpo, alpaca,"
    )
    assert fault([row], format="alpaca", fields={"prompt": "input"}) == (
        "Both a format and a field mapping are given. Name one of them."
    )


def test_the_report_names_every_line_that_was_left_out(tmp_path):
    path = tmp_path / "eval.jsonl"
    lines = [
        '{"question": "go?", "answer": "went"}',
        "",
        "broken",
        '{"question": "go?", "answer": "gone"}',
        "[]",
    ]
    path.write_text(
        "\n".join([*lines, '{"question": "see?"}', '{"question": "see?", "answer": "saw"}']) + "\n"
    )
    samples = load_samples(path, name="probe")
    assert [(sample.prompt, sample.reference, sample.source) for sample in samples] == [
        ("go?", "went", "eval.jsonl:1"),
        ("see?", "saw", "eval.jsonl:7"),
    ]
    assert samples.name == "probe"
    assert str(samples.report) == (
        f"{path}: 2 of 7 rows usable, format question_answer; skipped 5: line 2: blank line; "
        "line 3: not valid JSON (Expecting value at column 1); line 4: same input as line 1; "
        "line 5: not an object but a value of type list; line 6: no 'answer'"
    )


def test_examples_keep_repeated_inputs_and_know_no_limit(tmp_path):
    rows = [{"question": "go?", "answer": "went"}, {"question": "go?", "answer": "gone"}, {"question": "?"}]
    examples, report = read_examples(rows)
    assert [example.reference for example in examples] == ["went", "gone"]
    assert [example.source for example in examples] == ["item 1", "item 2"]
    assert (
        str(report) == "The list: 2 of 3 rows usable, format question_answer; skipped 1: item 3: no 'answer'"
    )


def test_more_samples_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"question": f"q{n}", "answer": "a"}) + "\n" for n in range(120)]
    (tmp_path / "eval.jsonl").write_text("".join(lines))
    assert fault("eval.jsonl", limit=100) == (
        "eval.jsonl holds 120 samples, more than the limit of 100. Shorten the file, or set "
        "PREDICTIONS_MAX_SAMPLE_COUNT to allow more."
    )
    (tmp_path / "eval.jsonl").write_text("".join(lines[:100] + lines[:50] + ["\n", "broken\n"]))
    assert len(load_samples("eval.jsonl", limit=100)) == 100
    assert fault([{"question": "a?", "answer": 1}, {"question": "b?", "answer": 1}], limit=1).startswith(
        "The list holds 2 samples, more than the limit of 1. Pass fewer, or set PREDICTIONS_MAX_SAMPLE_COUNT"
    )


def test_no_usable_row_is_an_error_that_quotes_the_reasons(tmp_path):
    rows = [{"question": " ", "answer": "x"}, {"question": 3, "answer": "x"}] + [
        {"question": "", "answer": "x"}
    ] * 3
    assert fault(rows) == (
        "The list holds no usable sample (rows: 5, format: question_answer). item 1: 'question' is blank; "
        "item 2: 'question' is a number, not text; item 3: 'question' is blank; and 2 more. "
        "Mend the rows, or say which column is what with a field mapping."
    )
    path = tmp_path / "eval.jsonl"
    path.write_text("a\n\n")
    assert fault(path).startswith(
        f"{path} holds no usable sample (rows: 2, format: unknown). line 1: not valid JSON"
    )


def test_default_tools_are_for_chats_without_tools_of_their_own():
    other = {"type": "function", "function": {"name": "other"}}
    chats = [
        {"messages": [user("a")], "tools": [TOOL]},
        {"messages": [user("b")], "tools": []},
        {"messages": [user("c")]},
    ]
    assert [sample.tools for sample in load_samples(chats, tools=[other])] == [(TOOL,), (other,), (other,)]
    assert only({"prompt": "The sky is", "completion": "blue"}, tools=[other]).tools == ()
    assert fault(chats, tools=["look"]).startswith(
        "The default tools cannot be used: 'tools' is text that is not"
    )


def test_samples_pass_as_they_are():
    mine = Sample((user("go?"),), "went", source="mine:1", metadata={"x": 1})
    samples = load_samples(
        [mine, Sample((user("see?"),)), Sample((user(" "),)), Sample((user("go?"),)), "text"]
    )
    assert samples[0] == mine
    assert (samples[1].prompt, samples[1].source) == ("see?", "item 2")
    assert samples.report.format == "samples"
    assert [(row.place, row.reason) for row in samples.report.skipped] == [
        ("item 3", "the prompt is empty"),
        ("item 4", "same input as item 1"),
        ("item 5", "not a Sample but a value of type str"),
    ]
    assert load_samples(SampleSet((mine,)), tools=[TOOL])[0].tools == (TOOL,)


def test_reading_leaves_global_randomness_and_the_rows_alone(recwarn, capsys):
    rows = [{"messages": [user("go?"), assistant("went")], "tags": ["x"], "nested": {"a": [1]}}]
    before, copy = random.getstate(), json.loads(json.dumps(rows))
    load_samples(rows).draw(1, seed=3)
    assert random.getstate() == before
    assert rows == copy
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")


def test_an_earlier_turn_that_says_the_same_is_history() -> None:
    """In "yes or no" data the answer to this question is often that to the one before."""
    history = [user("is 2 even?"), assistant("Yes"), user("is 4 even?")]
    for row in (
        {"prompt": history, "completion": "Yes"},
        {"prompt": history, "completion": [assistant("yes")]},
        {"prompt": history, "chosen": [assistant("Yes")], "rejected": [assistant("No")]},
    ):
        [sample] = load_samples([row])
        assert [turn["content"] for turn in sample.messages] == ["is 2 even?", "Yes", "is 4 even?"]
        assert (sample.reference or "").lower() == "yes"
