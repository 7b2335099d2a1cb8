"""Secrets by their value: what must not be stored, wherever it stands."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from timelapse import names
from timelapse.config.redact import REDACTED, redact_text, secret_values

FEWEST_CHARACTERS = 6
"""Shorter values (`true`, `1234`) stand in too many words; `JOB_TOKEN` is masked however short it is."""
_FOLDERS = ("PWD", "OLDPWD")  # of a shell; elsewhere PWD is short for a password


def known_secrets(environment: Mapping[str, str], *settings: Any) -> set[str]:
    """Return the values that must never be stored: lines of secrets in an environment and in settings."""
    variables = {name: value for name, value in environment.items() if name not in _FOLDERS}
    values = secret_values(variables).union(*(secret_values(each) for each in settings))
    lines = {line.strip() for value in values for line in value.splitlines()}
    token = environment.get(names.JOB_TOKEN, "").strip()
    return {line for line in lines if len(line) >= FEWEST_CHARACTERS} | ({token} if token else set())


def any_of(secrets: Collection[str]) -> re.Pattern[str] | None:
    """Return a pattern that finds these values, the longest first; None if there are none."""
    return re.compile("|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))) if secrets else None


def hide_secrets(text: str) -> str:
    """Return a text with `***` for what looks like a secret, and for those in this process's environment."""
    known = any_of(known_secrets(os.environ))
    return redact_text(known.sub(REDACTED, text) if known else text)
