"""Secrets, found by the name they stand under and by their own look, replaced by `***`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

REDACTED = "***"

_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_SECRET_WORDS = {
    *("token", "secret", "secrets", "credential", "credentials", "authorization", "passphrase", "passcode"),
    *("password", "passwords", "passwd", "pwd"),
    *(
        "apikey",
        "apikeys",
        "connectionstring",
        "connstr",
        "accesskey",
        "secretkey",
        "privatekey",
        "authtoken",
        "accesstoken",
    ),
}
# Words written in one: `HFTOKEN`, `dbpassword`.
_SECRET_ENDINGS = ("token", "password", "passwd", "secret", "apikey")
# Only at the end of a name, and not in `pass_rate`, `auth_type` or `forward_pass`.
_SECRET_LAST_WORDS = {"auth", "pass", "bearer", "cookie", "cookies", "pat"}
_NO_SECRET_PASS = {"forward", "backward", "first", "second", "last", "single", "one", "two", "multi", "per"}
# Whose or what for a key is: any other, as `sort_key`, is the name of a column or of an entry.
_KEY_OWNERS = {
    *(
        "api",
        "access",
        "private",
        "secret",
        "signing",
        "encryption",
        "account",
        "storage",
        "service",
        "master",
    ),
    *("admin", "auth", "ssh", "gpg", "pgp", "jwt", "hmac", "webhook", "deploy", "license", "subscription"),
    *("openai", "ai", "anthropic", "claude", "azure", "aws", "gcp", "google", "gemini", "hf", "huggingface"),
    *("face", "wandb", "mistral", "cohere", "groq", "together", "replicate", "deepseek", "openrouter", "xai"),
    *("fireworks", "perplexity", "nvidia", "ngc", "runpod", "modal", "lambda", "comet", "neptune", "mlflow"),
    *("langsmith", "langfuse", "pinecone", "qdrant", "weaviate", "elastic", "github", "gitlab", "slack"),
    *("stripe", "sendgrid", "twilio", "datadog", "sentry", "databricks", "snowflake", "kaggle", "serpapi"),
}
_SECRET_PAIRS = {
    *((owner, key) for owner in _KEY_OWNERS for key in ("key", "keys")),
    *((kind, "tokens") for kind in ("access", "api", "auth", "refresh")),
    *((first, second) for first in ("connection", "conn") for second in ("string", "str")),
}
# What language models call a token: `eos_token`, `pad_token_id`, `token_type`.
_NO_SECRET_BEFORE = {"pad", "eos", "bos", "unk", "mask", "sep", "cls", "image", "video", "audio", "special"}
_NO_SECRET_AFTER = {"id", "ids", "type", "count", "length", "limit"}

# A digit, or the length of a real key, tells `hf_x8Kd02` from the folder `hf_cache`.
_SECRET_VALUES = re.compile(
    r"""
      (?<![A-Za-z0-9]) (?:
          hf_ (?: (?=[A-Za-z]*[0-9]) [A-Za-z0-9]{6,} | [A-Za-z0-9]{16,} )
        | sk- (?: (?=[A-Za-z_-]*[0-9]) [A-Za-z0-9_-]{6,} | [A-Za-z0-9_-]{16,} )
        | gh[pousr]_ [A-Za-z0-9]{6,}
        | github_pat_ [A-Za-z0-9_]{6,}
        | glpat- [A-Za-z0-9_-]{6,}
        | (?: AKIA | ASIA ) [A-Z0-9]{8,}
        | xox[abeoprs]- [A-Za-z0-9-]{4,}
        | [Aa]uthorization: \s* [A-Za-z]+ \s+ [^\s'"]+
        | [Bb]earer \s+ [A-Za-z0-9._~+/=-]{3,}
        | eyJ [A-Za-z0-9_-]{8,} \. [A-Za-z0-9_-]+ \. [A-Za-z0-9_-]*
      )
      | -----BEGIN [A-Z ]* PRIVATE[ ]KEY-----  .*?  (?: -----END [A-Z ]* PRIVATE[ ]KEY----- | \Z )
    """,
    re.VERBOSE | re.DOTALL,
)
# SQLAlchemy takes any password up to the @, slashes too; `host:5000/a@b` is a port and a path.
# A user alone is no secret, but for the web, where it is a token.
_URL_LOGIN = re.compile(
    r"""(?<=://)[^\s/?#'":]*:(?![0-9]+[/?#])[^\s'"]*@ | (?:(?<=http://)|(?<=https://))[^\s/?#'":]+@""",
    re.VERBOSE,
)
_URL_PASSWORD = re.compile(r"""://[^\s/?#'":@]*:(?P<password>[^\s'"]+)@""")
_URL_SIGNATURE = re.compile(r"""(?P<start>[?&](?:[\w.-]+[_-])?sig(?:nature)?=)[^\s&;#'"]+""", re.IGNORECASE)
_BASIC_LOGIN = re.compile(r"""\b[Bb]asic\s+(?P<code>[A-Za-z0-9+/_-]{4,}={0,2})""")
_ASSIGNMENT = re.compile(r"""(?P<start>(?P<name>[A-Za-z][\w.-]*)=)(?:"[^"]*"|'[^']*'|[^\s&;,"'{}()]+)""")
_JSON_ENTRY = re.compile(r"""(?P<start>(?P<quote>["'])(?P<name>[\w.-]+)(?P=quote)\s*:\s*["'])[^"']+""")


def redact(value: Any) -> Any:
    """Return a copy of nested mappings and lists in which every secret reads `***`.

    A value goes as a whole where its key names a secret (`HF_TOKEN`, `apiKey`, `db.password`), whatever it
    holds; a null stays null, because it says that nothing was set. In every other text only the part that
    looks like a secret goes: a login in a URL, a known form of key, `password=…`.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {_redact_key(key): _redact_entry(key, item, value) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return value


def redact_text(text: str) -> str:
    """Return `text` with every part that looks like a secret replaced by `***`."""
    text = _URL_LOGIN.sub(f"{REDACTED}@", text)
    text = _URL_SIGNATURE.sub(rf"\g<start>{REDACTED}", text)
    text = _SECRET_VALUES.sub(REDACTED, text)
    text = _BASIC_LOGIN.sub(_redact_basic, text)
    text = _ASSIGNMENT.sub(_redact_assignment, text)
    return _JSON_ENTRY.sub(_redact_assignment, text)


def secret_values(value: Any) -> set[str]:
    """Return the texts in nested mappings and lists that are secrets, to find them wherever else they stand.

    Those whose key names a secret, and the passwords of URLs, as written and decoded.
    """
    if isinstance(value, str):
        passwords = {match["password"] for match in _URL_PASSWORD.finditer(value)}
        return passwords | {unquote(password) for password in passwords}
    if isinstance(value, Mapping):
        found = set()
        for key, item in value.items():
            name = value.get("name") if key == "value" else key
            secret = isinstance(name, str) and is_secret_key(name)
            found |= _texts(item) if secret else secret_values(item)
        return found
    if isinstance(value, list | tuple):
        return {secret for item in value for secret in secret_values(item)}
    return set()


def without_credentials(text: str) -> str:
    """Return a URI, or a text with URIs, without the `user:password@` that they may hold."""
    return _URL_LOGIN.sub("", text)


def is_secret_key(key: str) -> bool:
    """Whether a name is that of a secret; words are split at `_`, `-`, `.`, blanks and capital letters."""
    words = [word.lower() for word in _WORDS.findall(key)]
    following = [*words, ""][1:]
    preceding = ["", *words][: len(words)]
    if words and words[-1] in _SECRET_LAST_WORDS:
        return words[-1] != "pass" or preceding[-1] not in _NO_SECRET_PASS
    return any(
        (_is_secret_word(word) and not _is_model_token(before, word, after)) or (word, after) in _SECRET_PAIRS
        for before, word, after in zip(preceding, words, following, strict=True)
    )


def _texts(value: Any) -> set[str]:
    """Return all texts and numbers in nested mappings and lists, as texts."""
    if isinstance(value, Mapping):
        return {text for item in value.values() for text in _texts(item)}
    if isinstance(value, list | tuple):
        return {text for item in value for text in _texts(item)}
    return set() if value is None or isinstance(value, bool) else {str(value)}


def _is_secret_word(word: str) -> bool:
    if word.removesuffix("token") in _NO_SECRET_BEFORE:  # `padtoken`
        return False
    return word in _SECRET_WORDS or word.endswith(_SECRET_ENDINGS)


def _is_model_token(before: str, word: str, after: str) -> bool:
    return word == "token" and (before in _NO_SECRET_BEFORE or after in _NO_SECRET_AFTER)


def _redact_key(key: Any) -> Any:
    return redact_text(key) if isinstance(key, str) else key


def _redact_entry(key: Any, item: Any, siblings: Mapping[Any, Any]) -> Any:
    # `{name: API_KEY, value: …}` is how environments are listed.
    name = siblings.get("name") if key == "value" else key
    if item is not None and isinstance(name, str) and is_secret_key(name):
        return REDACTED
    return redact(item)


def _redact_assignment(match: re.Match[str]) -> str:
    return match["start"] + REDACTED if is_secret_key(match["name"]) else match[0]


def _redact_basic(match: re.Match[str]) -> str:
    """Mask `Basic dXNlcjpw`, but not `Basic training`: what is a login has a colon inside."""
    code = match["code"].rstrip("=")
    try:
        login = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_").decode()
    except (binascii.Error, UnicodeDecodeError):
        return match[0]
    return REDACTED if ":" in login else match[0]
