"""Regular expressions with a time limit, which a model's answer cannot keep busy for hours."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from timelapse.errors import ConfigError
from timelapse.fence import attempt, describe

SECONDS = 0.05
"""How long a search may take: patterns that go astray would take hours."""
LONGEST = 2_000
"""Characters of a pattern; longer ones take long to compile, which no time limit ends."""


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """Return a compiled pattern of the package `regex`; a bad one is a `ConfigError` that says where."""
    import regex  # type: ignore[import-untyped]

    if len(pattern) > LONGEST:
        raise ConfigError(
            f"The pattern {_short(pattern)} has {len(pattern):,} characters, more than {LONGEST:,}. "
            "To look for a long text as it is, use the scorer contains."
        )
    found, error = attempt(lambda: regex.compile(pattern))
    if found is None:
        assert error is not None
        raise ConfigError(
            f"The pattern {_short(pattern)} is no regular expression: {describe(error)}. Expected one as "
            "Python writes them, in YAML best between single quotes, which leave every backslash alone."
        )
    return found


def matches(pattern: str, text: str, *, full: bool = False) -> bool:
    """Return whether the pattern is found in the text, or with `full` matches all of it.

    Other threads go on meanwhile. `TimeoutError` after `SECONDS`.
    """
    expression = compiled(pattern)
    find = expression.fullmatch if full else expression.search
    try:
        return find(text, timeout=SECONDS, concurrent=True) is not None
    except TimeoutError:
        raise TimeoutError(f"the pattern {_short(pattern)} took longer than {SECONDS} s") from None


def _short(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 100 else f"{pattern[:100]}…")
