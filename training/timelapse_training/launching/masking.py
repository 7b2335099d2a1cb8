"""Secrets in what a child process says: found by their value, and by their look."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from timelapse.config.known_secrets import any_of
from timelapse.config.redact import REDACTED, redact_text

LONGEST_KEY = 250
"""Lines of a private key at most: what only looks like the beginning of one shall not hide a whole log."""
_KEY_BEGINS, _KEY_ENDS = re.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----"), "-----END "


def masker(secrets: Collection[str]) -> Callable[[str], str]:
    """Return a function that takes the lines of one stream in order and returns them with secrets as `***`.

    It remembers that a private key has begun, whose lines have no look of their own.
    """
    known = any_of(secrets)
    key_lines = 0  # how many more may belong to a private key

    def masked(line: str) -> str:
        nonlocal key_lines
        in_key = key_lines > 0
        begun = _KEY_BEGINS.search(line)
        if begun and _KEY_ENDS not in line[begun.end() :]:
            key_lines = LONGEST_KEY
        elif in_key:
            key_lines = 0 if _KEY_ENDS in line else key_lines - 1
        if in_key:
            return REDACTED
        return redact_text(known.sub(REDACTED, line) if known else line)

    return masked
