"""Validators against the letter of RFC 8259, jsonschema as oracle, and answers meant to break them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from timelapse.errors import ConfigError, ScorerError
from timelapse.scoring.validators import (
    Finding,
    Validation,
    Validator,
    make_validator,
    make_validators,
    spec_of,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "items": {"type": "array", "items": {"properties": {"name": {"type": "string"}}}},
    },
    "required": ["name"],
}

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def found(spec: Any, text: str) -> list[tuple[str, str]]:
    """Return the findings of a spec's validator, as pairs."""
    validation = make_validator(spec).validate(text)
    assert validation.passed is (validation.errors == ())
    return [(each.path, each.message) for each in validation.errors]


def schema(of: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"json_schema": {"schema": of, **options}}


# JSON


@given(values)
def test_whatever_json_dumps_is_json(value: Any) -> None:
    passed = Validation("json", "json", passed=True, errors=())
    assert make_validator("json").validate(json.dumps(value)) == passed
    assert make_validator("json").validate(json.dumps(value, ensure_ascii=False, indent=2)) == passed


@given(st.text(alphabet='[]{}",:0123e+-.nulltrasf \n\\', max_size=30))
def test_json_is_what_pythons_reader_takes_less_what_rfc_8259_does_not(text: str) -> None:
    def refuse(what: Any) -> Any:
        raise ValueError(what)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs) if len(dict(pairs)) == len(pairs) else refuse(pairs)

    try:
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
        expected = "inf" not in repr(value)  # no text can hold it: there is no i
    except ValueError:
        expected = False
    assert make_validator("json").validate(text).passed is expected


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "$", "the answer is empty"),
        (" \n\t", "$", "the answer is empty"),
        ('{"a": 1} Hope that helps!', "$", "text after the JSON value: line 1 column 10"),
        ('{"a":\n 1}\n{}', "$", "text after the JSON value: line 3 column 1"),
        ("Sure: {}", "$", "no JSON: Expecting value: line 1 column 1"),
        ('{"a": 1,\n "b": tru}', "$", "no JSON: Expecting value: line 2 column 7"),
        ("NaN", "$", "NaN is no JSON value"),
        ('{"a": [1, -Infinity]}', "$.a[1]", "-Infinity is no JSON value"),
        ('[{"a": 1, "b": 2, "a": 3, "a": 1}]', "$[0].a", "the key occurs 3 times"),
        ('{"two words": {"a": 1, "a": 1}}', '$["two words"].a', "the key occurs 2 times"),
        ('{"a": 1e400}', "$.a", "the number 1e400 is too large for a double"),
        ("\ufeff{}", "$", "no JSON: Expecting value: line 1 column 1"),
    ],
)
def test_what_is_no_json_is_said_with_its_place(text: str, path: str, message: str) -> None:
    assert found("json", text) == [(path, message)]


def test_several_findings_come_in_the_order_of_their_paths() -> None:
    text = '{"b": NaN, "a": [' + "0, " * 10 + 'NaN, {"x": 1, "x": 2}, NaN]}'
    assert [path for path, _message in found("json", text)] == ["$.a[10]", "$.a[11].x", "$.a[12]", "$.b"]


def test_literal_values_are_json() -> None:
    for text in ("null", "0", '"x"', "false", " [] \n", r'"\ud800"', "-0.0", "1E-400"):
        assert found("json", text) == []


@pytest.mark.parametrize("spec", ["json", schema({}), schema({"items": {"$ref": "#"}})])
@pytest.mark.parametrize(
    "text",
    ["[" * 10_000, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000, "[" * 101 + "]" * 101],
)
def test_deep_nesting_is_a_finding(spec: Any, text: str) -> None:
    ((path, message),) = found(spec, text)
    assert path == "$"
    assert message.startswith(("arrays and objects are nested deeper than 100", "no JSON: Expecting value"))


def test_a_hundred_levels_are_read() -> None:
    assert found("json", "[" * 100 + "]" * 100) == []
    assert found(schema({"items": {"$ref": "#"}}), "[" * 100 + "]" * 100) == []


@pytest.mark.parametrize(
    "text",
    [
        *("x" * 100_000, "1" * 100_000, '"' * 100_001, "\\" * 100_000, "```" + " " * 100_000 + "`x"),
        *("[" + "1," * 50_000, '{"a":1,' * 14_000, "\x00" * 100_000, "`" * 100_000, "```\n" * 25_000),
    ],
    ids=repr,
)
def test_garbage_is_found(text: str) -> None:
    for spec in ({"json": {"fenced": True}}, schema(PERSON, fenced=True)):
        errors = make_validator(spec).validate(text).errors
        assert len(errors) == 1
        assert len(errors[0].message) <= 300


# Blocks of code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Here:\n```json\n[1]\n```\nBye", []),
        ("```\n[1]\n```", []),
        ("  ```JSON title\r\n[1]\r\n  ```\r\n", []),
        ("```python\nprint('[')\n```\nand\n```json\n[1]\n```", []),
        ("````json\n[1]\n````", []),
        ("[1]", []),
        ("```json\n[1]\n```\n```json\nno\n```", []),
        ("```json\n[1]", []),
        ("```json\n[1,\n  2\n```", ["no JSON: Expecting ',' delimiter: line 4 column 1"]),
        ("a\n```json\n[1] 2\n```", ["text after the JSON value: line 3 column 5"]),
        ("```json\n```", ["the block of code is empty"]),
        ("```json", ["the block of code is empty"]),
        ("```python\n[1]\n```", ["no JSON: Expecting value: line 1 column 1"]),
        ("", ["the answer is empty"]),
    ],
)
def test_fenced_checks_the_first_block_of_json_else_all(text: str, expected: list[str]) -> None:
    assert [message for _path, message in found({"json": {"fenced": True}}, text)] == expected


def test_without_fenced_a_block_is_no_json() -> None:
    assert found("json", "```json\n[1]\n```") == [("$", "no JSON: Expecting value: line 1 column 1")]


def test_a_fenced_answer_is_held_against_a_schema() -> None:
    text = 'Sure!\n```json\n{"name": 1}\n```'
    assert found(schema(PERSON, fenced=True), text) == [("$.name", "1 is not of type 'string'")]
    assert len(found(schema(PERSON), text)) == 1


# JSON Schema


def test_null_is_a_value_like_any_other() -> None:
    assert found(schema({"type": "object"}), "null") == [("$", "None is not of type 'object'")]
    assert found(schema({"type": "null"}), "null") == []
    assert found(schema({"type": "null"}), "{}") == [("$", "{} is not of type 'null'")]


def test_findings_name_the_place_in_the_answer() -> None:
    text = '{"items": [{}, {"name": "x"}, {"name": 3}]}'
    assert found(schema(PERSON), text) == [
        ("$", "'name' is a required property"),
        ("$.items[2].name", "3 is not of type 'string'"),
    ]


def test_twenty_findings_are_kept_the_first_by_path() -> None:
    errors = found(schema({"items": {"type": "string"}}), json.dumps(list(range(30))))
    assert errors == [(f"$[{place}]", f"{place} is not of type 'string'") for place in range(20)]


def test_long_texts_lose_their_middle() -> None:
    ((path, message),) = found(schema({"type": "object"}), json.dumps(["x" * 1000]))
    assert len(message) == 300
    assert message.startswith("['xxxx")
    assert message.endswith("xx'] is not of type 'object'")
    ((path, _message),) = found(schema({"additionalProperties": False, "properties": {}}), '{"x": 1}')
    assert path == "$"
    ((path, _message),) = found(
        schema({"additionalProperties": {"type": "null"}}), json.dumps({"k" * 999: 1})
    )
    assert len(path) == 300


def test_findings_can_be_stored() -> None:
    ((path, message),) = found(schema({"additionalProperties": {"const": 1}}), r'{"\ud800": "\udc00"}')
    assert (path + message).encode()


def test_of_several_schemas_the_nearest_one_is_explained() -> None:
    either = {"anyOf": [{"type": "null"}, PERSON]}
    ((path, message),) = found(schema({"items": either}), '[null, {"name": 5}]')
    assert path == "$[1]"
    assert message.endswith(
        "is not valid under any of the given schemas; nearest: $[1].name: 5 is not of type 'string'"
    )


parts = st.recursive(
    st.sampled_from(
        [
            *(
                {},
                {"type": "string"},
                {"type": ["integer", "null"]},
                {"enum": [1, "a", None]},
                {"minimum": 0},
            ),
            *(
                {"pattern": "^a"},
                {"maxLength": 1},
                {"const": 1},
                {"$ref": "#/$defs/word"},
                {"multipleOf": 0.5},
            ),
            *({"uniqueItems": True}, {"minItems": 1}, {"required": ["a"]}, {"additionalProperties": False}),
            {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "null"}},
            {"patternProperties": {"^a": True}, "properties": {"b": True}, "additionalProperties": False},
        ]
    ),
    lambda inner: (
        st.builds(lambda each: {"items": each}, inner)
        | st.builds(lambda a, b: {"properties": {"a": a, "b": b}}, inner, inner)
        | st.builds(
            lambda a, b, word: {word: [a, b]}, inner, inner, st.sampled_from(["anyOf", "allOf", "oneOf"])
        )
        | st.builds(lambda each: {"not": each}, inner)
    ),
    max_leaves=5,
)
small = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, -1, 0.5, "a", "ab", "b", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "ab", "b"]), inner),
    max_leaves=8,
)


@given(parts, small)
@settings(max_examples=300, deadline=None)
def test_findings_are_those_of_jsonschema(part: dict[str, Any], value: Any) -> None:
    whole = {**part, "$defs": {"word": {"type": "string", "minLength": 2}}}
    expected = jsonschema.Draft202012Validator(whole).iter_errors(value)
    validation = make_validator(schema(whole)).validate(json.dumps(value))
    assert sorted(each.path for each in validation.errors) == sorted(each.json_path for each in expected)[:20]


def test_equal_items_are_equal_as_json_has_it() -> None:
    unique = schema({"uniqueItems": True})
    for text in ("[1, 1.0]", '[{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]', "[null, null]", "[[], []]"):
        assert found(unique, text)[0][1].endswith("has non-unique elements")
    for text in ("[1, true]", "[0, false]", '["1", 1]', "[[1], [true]]", "[[], {}]", "[null, false]"):
        assert found(unique, text) == []


def test_many_items_of_all_kinds_are_compared() -> None:
    text = json.dumps([each for number in range(4_000) for each in (number, str(number), {"n": number})])
    assert found(schema({"uniqueItems": True}), text) == []


def test_a_long_answer_that_is_wrong_everywhere_is_checked() -> None:
    either = {"items": {"anyOf": [{"type": "string"}, {"type": "null"}]}}
    errors = found(schema(either), json.dumps([1] * 40_000))
    assert [path for path, _message in errors] == [f"$[{place}]" for place in range(20)]


SLOW = r"^(\w|\w\w|\d)+$"
BUSY = "a" * 60 + "!"


@pytest.mark.parametrize(
    ("of", "value"),
    [
        ({"pattern": SLOW}, BUSY),
        ({"patternProperties": {SLOW: {}}}, {BUSY: 1}),
        ({"additionalProperties": False, "patternProperties": {SLOW: {}}}, {BUSY: 1}),
        ({"not": {"pattern": SLOW}}, BUSY),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "allOf": [{"pattern": SLOW}]}, BUSY),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "pattern": SLOW}, BUSY),
        (
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "pattern": SLOW,
                "items": {"$ref": "#"},
            },
            [BUSY],
        ),
    ],
)
def test_a_pattern_of_a_schema_cannot_run_without_end(of: dict[str, Any], value: Any) -> None:
    ((path, message),) = found(schema(of), json.dumps(value))
    assert (path, message) == (
        "$",
        f"the schema could not be checked: the pattern {SLOW!r} took longer than 0.05 s",
    )


def test_the_schema_says_its_draft() -> None:
    items = {"items": [{"type": "string"}]}  # a list of schemas was given up with draft 2020-12
    older = {"$schema": "http://json-schema.org/draft-07/schema#", **items}
    assert found(schema(older), "[1]") == [("$[0]", "1 is not of type 'string'")]
    with pytest.raises(ConfigError, match=r"at \$\.items: \[\{'type': 'string'\}\] is not of type"):
        make_validator(schema(items))


def test_formats_are_checked_when_asked_for() -> None:
    dated = {"format": "date"}
    assert found(schema(dated), '"soon"') == []
    assert found(schema(dated, formats=True), '"soon"') == [("$", "'soon' is not a 'date'")]
    assert found(schema(dated, formats=True), '"2024-02-29"') == []


def test_local_references_and_metaschemas_are_followed() -> None:
    tree = {
        "properties": {"left": {"$ref": "#"}, "value": {"$ref": "#/$defs/n"}},
        "$defs": {"n": {"minimum": 0}},
    }
    assert found(schema(tree), '{"left": {"left": {"value": -1}}}') == [
        ("$.left.left.value", "-1 is less than the minimum of 0")
    ]
    meta = schema({"$ref": "https://json-schema.org/draft/2020-12/schema"})
    assert found(meta, '{"type": "object"}') == []
    assert found(meta, '{"minLength": -1}') == [("$.minLength", "-1 is less than the minimum of 0")]


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server that would hand out schemas, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_nothing_is_fetched(server: tuple[str, list[str]]) -> None:
    address, asked = server
    with pytest.raises(ConfigError, match="nothing is fetched"):
        make_validator(schema({"properties": {"a": {"$ref": f"{address}/a.json"}}}))
    with pytest.raises(ConfigError, match="nothing is fetched"):
        make_validator(schema({"$id": f"{address}/root.json", "$ref": "a.json"}))
    assert asked == []


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"type": "strin"}, r"at \$\.type: 'strin' is not valid under any of the given schemas"),
        ({"properties": {"a": {"minLength": -1}}}, r"at \$\.properties\.a\.minLength: -1 is less than"),
        ({"$ref": "#/$defs/none"}, "its reference '#/\\$defs/none' leads nowhere"),
        ({"allOf": [{"items": {"$ref": "other.json"}}]}, "its reference 'other.json' leads nowhere"),
        ({"allOf": [{}], "$ref": "#/allOf/x"}, "leads nowhere"),
        (
            {"$ref": "#/parts/a", "parts": {"a": {"type": 3}}},
            r"at the target of '#/parts/a', \.type: 3 is not",
        ),
        (
            {"$ref": "#/parts/a", "parts": {"a": "text"}},
            "at the target of '#/parts/a'.*'text' is not of type",
        ),
        ({"$ref": "#"}, "it refers to itself without end"),
        (
            {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}},
            "it refers to itself without end",
        ),
        ({"pattern": "(a"}, "'\\(a' is no regular expression: error: missing \\)"),
        ({"patternProperties": {"[": {}}}, "'\\[' is no regular expression"),
        ({"$schema": "http://json-schema.org/draft-99/schema#"}, "its \\$schema .*draft-99.* is not known"),
        (
            {"unevaluatedProperties": False, "patternProperties": {r"\p{L}": {}}},
            "it cannot be checked: error: bad escape",
        ),
        ({"$schema": 7}, "its \\$schema 7 is not known"),
    ],
)
def test_a_bad_schema_is_said_when_it_is_given(of: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_validator(schema(of))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{enum: [2024-01-01]}", r"\$\.enum\[0\] is datetime\.date\(2024, 1, 1\) \(date\).*quotes around it"),
        (
            "{properties: {on: {}}}",
            r"\$\.properties has the key True, which is no text. Put quotes around it",
        ),
        ("{const: .nan}", r"\$\.const is nan \(float\)"),
        ("&a {items: *a}", "nested deeper than 100 levels"),
    ],
)
def test_values_of_yaml_that_json_does_not_know_are_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_validator(schema(yaml.safe_load(text)))


def test_a_schema_file_is_found_from_the_folder(tmp_path: Path) -> None:
    (tmp_path / "person.json").write_text(json.dumps(PERSON), encoding="utf-8-sig")
    short = make_validator({"json_schema": "person.json"}, folder=tmp_path)
    long = make_validator({"json_schema": {"schema": str(tmp_path / "person.json"), "name": "p"}})
    assert (short.name, short.kind, long.name) == ("json_schema", "json_schema", "p")
    for validator in (short, long):
        assert validator.validate("{}").errors == (Finding("$", "'name' is a required property"),)
    (tmp_path / "person.json").unlink()
    assert make_validator(spec_of(short)) == short


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot read its schema s\.json \(FileNotFoundError.*a relative path starts from"),
        (
            b'{"type":\n object}',
            r"needs JSON in s\.json, but at \$: no JSON: Expecting value: line 2 column 2",
        ),
        (b'{"type": 1, "type": 2}', r"needs JSON in s\.json, but at \$\.type: the key occurs 2 times"),
        (b"[1]", r"needs a schema, and s\.json is \[1\]. Expected the path of a JSON file"),
        (b'"\xff"', r"cannot read its schema s\.json \(UnicodeDecodeError"),
    ],
)
def test_a_bad_schema_file_is_said(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        make_validator({"json_schema": "s.json"}, folder=tmp_path)


# Patterns


def test_a_pattern_is_searched_for_or_matches_all() -> None:
    assert found({"regex": "[0-9]+"}, "about 12") == []
    assert found({"regex": {"pattern": "[0-9]+", "full": True}}, "12") == []
    assert found({"regex": {"pattern": "[0-9]+", "full": True}}, "12\n") == [
        ("$", "does not match the pattern '[0-9]+'")
    ]
    assert found({"regex": r"\p{Lu}"}, "ß") == [("$", r"nothing matches the pattern '\\p{Lu}'")]


def test_a_pattern_without_end_is_a_finding() -> None:
    assert found({"regex": SLOW}, BUSY) == [("$", f"the pattern {SLOW!r} took longer than 0.05 s")]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"regex": "(a"}, r"'\(a' is no regular expression: error: missing \) at position 2"),
        ("regex", "needs a pattern, and has None"),
        ({"regex": 5}, "needs a pattern, and has 5"),
        ({"regex": {"pattern": "a", "full": "yes"}}, "has full: 'yes'. Expected true or false"),
        (
            {"regex": {"patern": "a"}},
            "no option 'patern'; its options are pattern, full, name. Did you mean 'pat",
        ),
    ],
)
def test_a_bad_pattern_is_said(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_validator(spec)


# Functions


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the name of a module with functions of a user's."""
    (tmp_path / "my_checks.py").write_text(
        dedent(
            """
            import ast

            def says(text):
                return ast.literal_eval(text)

            def is_polite(text, words=("please",), least=1):
                return sum(word in text for word in words) >= least

            def breaks(text):
                raise KeyError("gone")

            async def later(text):
                return True

            class Words:
                @staticmethod
                def few(text, *, most):
                    return [f"word {word}" for word in text.split()[most:]]

            number = 3
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_checks"
    sys.modules.pop("my_checks", None)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *(("True", []), ("None", []), ("[]", []), ("''", []), ("()", [])),
        ("False", ["did not pass the check 'says'"]),
        ("'too short'", ["too short"]),
        ("['b', 'a', '']", ["b", "a"]),
        ("['x'] * 30", None),
    ],
)
def test_what_a_function_returns(checks: str, answer: str, expected: list[str] | None) -> None:
    if expected is None:
        answer, expected = repr(["x"] * 30), ["x"] * 20
    validation = make_validator(f"{checks}:says").validate(answer)
    assert validation == Validation(
        "says", "function", passed=not expected, errors=tuple(Finding("$", each) for each in expected)
    )


@pytest.mark.parametrize("answer", ["3", "1.0", "['a', 1]", "{'a': 1}", "0"])
def test_a_function_that_returns_something_else_has_failed(checks: str, answer: str) -> None:
    with pytest.raises(
        ScorerError, match=r"the validator 'says' failed: TypeError: it returned .*; expected"
    ):
        make_validator(f"{checks}:says").validate(answer)


def test_a_function_that_raises_has_failed(checks: str) -> None:
    with pytest.raises(ScorerError, match="the validator 'broken' failed: KeyError: 'gone'") as caught:
        make_validator({f"{checks}:breaks": {"name": "broken"}}).validate("x")
    assert isinstance(caught.value.__cause__, KeyError)


def test_options_are_handed_to_the_function(checks: str) -> None:
    polite = make_validator(
        {f"{checks}:is_polite": {"name": "polite", "words": ["would", "you"], "least": 2}}
    )
    assert polite.validate("would you").passed
    assert polite.validate("would").errors == (Finding("$", "did not pass the check 'polite'"),)
    few = make_validator({f"{checks}:Words.few": {"most": 1}})
    assert few.name == "few"
    assert [each.message for each in few.validate("a b c").errors] == ["word b", "word c"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no_such_module:f", "cannot be imported: ModuleNotFoundError.*in PYTHONPATH"),
        ("my_checks:is_polit", "there is no 'is_polit' in my_checks. Did you mean 'is_polite'?"),
        ("my_checks:", "'my_checks:' has the name ''"),
        ("my_checks:number", "is 3. Expected a function"),
        ("my_checks:later", "is <function later.*no coroutine"),
        (":f", "cannot be imported: ValueError"),
        ({"my_checks:is_polite": {"leest": 2}}, r"\(leest\): .*'leest'.* Did you mean 'least'?"),
        ("my_checks:Words.few", r"\(none\): missing a required .*'most'"),
        (
            {"my_checks:is_polite": {"least": {1, 2}}},
            r"\$\.least is \{1, 2\} \(set\), which JSON cannot hold",
        ),
        ({"my_checks:is_polite": 3}, "is given 3. Expected its options"),
    ],
)
def test_a_bad_function_is_said(checks: str, spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_validator(spec)


# Specs


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "jsn",
            "'jsn' is not known; there are json, json_schema, regex, and functions.* Did you mean 'json'?",
        ),
        ({"jsonschema": {}}, "Did you mean 'json_schema'?"),
        (
            {"json": {"fence": True}},
            "no option 'fence'; its options are fenced, name. Did you mean 'fenced'?",
        ),
        ({"json": {"fenced": 1}}, "has fenced: 1. Expected true or false"),
        ({"json": True}, "is given True. Expected its options: {json: {name: my_check}}"),
        ({"json": {"name": ""}}, "has the name ''"),
        ({"json": {"name": 3}}, "has the name 3"),
        ("json_schema", "needs a schema, and schema is None"),
        ({"json_schema": {"type": "object"}}, "no option 'type'.*{json_schema: {schema: {type: object}}}"),
        ({"json": None, "fenced": True}, "is no validator. Expected a name .*options stand further in"),
        ({}, "{} is no validator"),
        (["json"], "is no validator.*Several validators are a list"),
        (None, "None is no validator"),
        ({True: {}}, "{True: {}} is no validator"),
    ],
)
def test_a_wrong_spec_is_said(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_validator(spec)


def test_validators_have_names_of_their_own() -> None:
    specs: list[Any] = [
        "json",
        {"json": {"fenced": True, "name": "block"}},
        {"regex": "^[{]"},
        {"json_schema": {"schema": {}}},
    ]
    made = make_validators(specs)
    assert [(name, each.name, each.kind) for name, each in made.items()] == [
        ("json", "json", "json"),
        ("block", "block", "json"),
        ("regex", "regex", "regex"),
        ("json_schema", "json_schema", "json_schema"),
    ]
    with pytest.raises(
        ConfigError, match=r"Two validators have the name 'json'. Give one .*{json: {name: json_2"
    ):
        make_validators(["json", {"json": {"fenced": True}}])
    assert list(make_validators("json")) == list(make_validators({"json": None})) == ["json"]
    assert make_validators([]) == {}


def test_the_givers_own_data_can_change_later() -> None:
    given_schema = {"type": "object"}
    validator = make_validator(schema(given_schema))
    given_schema["type"] = "array"
    spec_of(validator)["json_schema"]["schema"]["type"] = "array"
    assert validator.validate("{}").passed
    assert spec_of(validator)["json_schema"]["schema"] == {"type": "object"}
    assert {validator: 1}[validator] == 1


SPECS: list[Any] = [
    *("json", {"json": {"fenced": True, "name": "block"}}),
    *(schema(PERSON, fenced=True, formats=True, name="person"), schema({"items": {"$ref": "#"}})),
    *({"regex": "^a"}, {"regex": {"pattern": r"\d", "full": True, "name": "digit"}}),
    *("my_checks:breaks", {"my_checks:is_polite": {"name": "polite", "words": ["a"], "least": 1}}),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_spec_makes_the_same_validator_again(checks: str, spec: Any) -> None:
    validator = make_validator(spec)
    again = make_validator(json.loads(json.dumps(spec_of(validator), allow_nan=False)))
    assert isinstance(again, Validator)
    assert again == validator
    assert spec_of(again) == spec_of(validator)


def test_another_process_finds_the_same(checks: str, tmp_path: Path) -> None:
    text = '```json\n{"items": [{"name": 1}]}\n```'
    made = make_validators([spec for spec in SPECS if spec != "my_checks:breaks" and spec != SPECS[3]])
    code = (
        "import json, sys; from timelapse.scoring.validators import make_validator\n"
        "specs, text = json.load(sys.stdin)\n"
        "found = [make_validator(spec).validate(text).errors for spec in specs]\n"
        "print(json.dumps([[[each.path, each.message] for each in errors] for errors in found]))"
    )
    sent = json.dumps([[spec_of(each) for each in made.values()], text])
    paths = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2] / 'tracker'}"}
    answer = subprocess.run(
        [sys.executable, "-c", code], input=sent, env=paths, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    here = [[[e.path, e.message] for e in each.validate(text).errors] for each in made.values()]
    assert json.loads(answer.stdout) == here
    assert [bool(errors) for errors in here] == [True, False, True, True, True, False]
