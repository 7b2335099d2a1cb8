"""No secret is stored or shown, and nothing else is masked."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timelapse.config.redact import is_secret_key, redact, without_credentials

SECRET_KEYS = [
    "token",
    "HF_TOKEN",
    "hfToken",
    "HFToken",
    "HFTOKEN",
    "token2",
    "auth-token",
    "job.token",
    "secret",
    "client_secret",
    "clientSecret",
    "aws_secret_access_key",
    "password",
    "dbPassword",
    "dbpassword",
    "passwd",
    "credential",
    "credentials",
    "Authorization",
    "apikey",
    "api_key",
    "api-key",
    "apiKey",
    "APIKey",
    "OPENAI_API_KEY",
    "accessKey",
    "access_key_id",
    "private_key",
    "private.key",
    "secretKey",
    "auth",
    "proxy_auth",
    "pass",
    "DB_PASS",
    "dbPass",
    "bearer",
    "openai_key",
    "OPENAI_KEY",
    "OpenAIKey",
    "wandb-key",
    "api_keys",
    "apiKeys",
    "apikeys",
    "signing_key",
    "AccountKey",
    "connection_string",
    "ConnectionString",
    "connectionstring",
    "cookie",
    "session_cookie",
    "passcode",
    "pat",
    "GITHUB_PAT",
    "access_tokens",
]
PLAIN_KEYS = [
    "tokenizer",
    "tokenizer_name",
    "max_new_tokens",
    "maxNewTokens",
    "prompt_tokens",
    "tokens",
    "pad_token",
    "padToken",
    "pad_token_id",
    "eos_token",
    "bos_token",
    "unk_token",
    "mask_token",
    "sep_token",
    "cls_token",
    "token_type_ids",
    "key",
    "keyboard",
    "api",
    "api_version_key",
    "sort_key",
    "primary_key",
    "foreign_key",
    "cache_key",
    "keys",
    "prompt_key",
    "public_key",
    "author",
    "authors",
    "auth_type",
    "pass_rate",
    "pass_at_1",
    "forward_pass",
    "bypass",
    "compat",
    "path",
    "cookiecutter",
    "string",
    "connection_timeout",
    "passage",
    "secretary",
    "model",
    "",
    "_",
    "ключ",
]
SECRET_TEXTS = [
    "hf_" + "aB" * 17,
    "hf_aBcD1234",
    "sk-proj-aBcDeFgHiJkLmNoP",
    "sk-ant-api03-x",
    "ghp_" + "a1" * 18,
    "github_pat_11ABCDE0_abc",
    "AKIAIOSFODNN7EXAMPLE",
    "Bearer abc.def-123",
    "Basic dXNlcjpw",
    "basic dXNlcjpwYXNzd29yZA==",
    "xoxb-1234-abcd",
    "xoxp-1234-abcd",
    "glpat-abcdef1234",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
]
PLAIN_TEXTS = [
    "/data/hf_cache/train.jsonl",
    "hf_transformers",
    "task-specific-risk-assessment",
    "sk-learn",
    "http://localhost:5000/path/a@b",
    "http://localhost:5000",
    "postgresql://postgres@host/db",
    "sqlite:///mlflow.db",
    "me@example.org",
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}{% endfor %}",
    "max_new_tokens=128&tokenizer=gpt2",
    '{"eos_token": "</s>"}',
    "the bearer of news",
    "Basic training and Basic JavaScript",
    "https://x.org/?design=a&signal=b",
    "key=name, sort_key=id, pass_rate=0.5",
    "git+ssh://git@github.com/a/b",
    "2024-01-01",
    "",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_the_value_under_a_secret_key_goes_whatever_it_is(key):
    for value in ("hunter2", 7, True, ["a"], {"user": "a"}, ""):
        assert redact({key: value}) == {key: "***"}


@pytest.mark.parametrize("key", PLAIN_KEYS)
def test_other_keys_keep_their_values(key):
    assert not is_secret_key(key)
    assert redact({key: "</s>"}) == {key: "</s>"}


def test_a_null_stays_null():
    assert redact({"hf_token": None, "a": [None]}) == {"hf_token": None, "a": [None]}


@pytest.mark.parametrize("text", SECRET_TEXTS)
def test_a_text_that_looks_like_a_secret_goes_from_any_place(text):
    assert redact(text) == "***"
    assert redact({"a": [{"b": (text, 1)}]}) == {"a": [{"b": ["***", 1]}]}
    assert redact(f"use '{text}' here") == "use '***' here"
    assert list(redact({text: 1})) == ["***"]


@pytest.mark.parametrize("text", PLAIN_TEXTS)
def test_other_texts_stay_as_they_are(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://user:pw@host:5432/db", "postgresql://***@host:5432/db"),
        ("postgresql+psycopg://user:p@ss/w:rd@host/db", "postgresql+psycopg://***@host/db"),
        ("redis://:pw@host", "redis://***@host"),
        ("see https://a:b@x.org/y and http://c:d@z.org", "see https://***@x.org/y and http://***@z.org"),
        ("https://x.org/?api_key=abc&page=2", "https://x.org/?api_key=***&page=2"),
        ("https://hunter2@host/x", "https://***@host/x"),
        ("clone http://hunter2@host.", "clone http://***@host."),
        ("https://x.org/a?sv=1&sig=ab%2Bc%3D&se=2", "https://x.org/a?sv=1&sig=***&se=2"),
        (
            "https://b.s3.org/k?X-Amz-Date=1&X-Amz-Signature=abc",
            "https://b.s3.org/k?X-Amz-Date=1&X-Amz-Signature=***",
        ),
        ("https://x.org/?access_token=abc#top", "https://x.org/?access_token=***"),
        (
            "AccountName=a;AccountKey=hunter2+/==;EndpointSuffix=core",
            "AccountName=a;AccountKey=***;EndpointSuffix=core",
        ),
        ("host=db password=pw user=me", "host=db password=*** user=me"),
        ("password='p w' x=1", "password=*** x=1"),
        ('password="p w"', "password=***"),
        ('{"api_key": "a b", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("curl -H 'Authorization: Basic dXNlcjpw' x", "curl -H '***' x"),
    ],
)
def test_only_the_secret_part_of_a_text_goes(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h/db", "postgresql://h/db"),
        ("https://token@h/x", "https://h/x"),
        ("postgresql://u:p@ss/w@h/db", "postgresql://h/db"),
        ("no http://u:p@h:5000/a, no http://h:5000/a@b", "no http://h:5000/a, no http://h:5000/a@b"),
        ("http://h:5000/a@b", "http://h:5000/a@b"),
        ("postgresql://postgres@h/db", "postgresql://postgres@h/db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_an_address_is_shown_without_its_login(text, expected):
    assert without_credentials(text) == expected


def test_a_name_and_value_pair_counts_as_a_key():
    assert redact({"name": "API_KEY", "value": "x"}) == {"name": "API_KEY", "value": "***"}
    assert redact({"name": "PORT", "value": "80"}) == {"name": "PORT", "value": "80"}
    assert redact({"value": "x"}) == {"value": "x"}


_plain = st.none() | st.booleans() | st.integers() | st.text(alphabet="abcd xyz", max_size=12)
_shapes = st.sampled_from(
    [lambda v: [v], lambda v: {"inner": v}, lambda v: [1, v], lambda v: {"a": None, "b": (v,)}, lambda v: v]
)


@given(st.lists(_shapes, max_size=4), st.sampled_from(SECRET_KEYS))
def test_a_secret_is_found_at_any_depth(shapes, key):
    value = {key: "needle"}
    for wrap in shapes:
        value = wrap(value)
    assert "needle" not in repr(redact(value))
    assert "***" in repr(redact(value))


@settings(max_examples=50)
@given(st.recursive(_plain, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc"), inner)))
def test_data_without_secrets_is_returned_equal(value):
    assert redact(value) == value


@given(st.text(alphabet="abcxyz", min_size=1, max_size=6), st.sampled_from(["_", "-", "."]))
def test_words_are_split_alike_at_every_separator(word, separator):
    assert is_secret_key(f"{word}{separator}token")
    assert is_secret_key(f"{word}Token")
    assert not is_secret_key(f"{word}{separator}tokens")
    assert not is_secret_key(f"{word}{separator}tokenizer")


@given(st.text(alphabet="abc/:@?&=. '\"x1", max_size=40))
def test_redacting_twice_changes_nothing_more(text):
    assert redact(redact(text)) == redact(text)
