"""Words for errors that help a person on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the known name most like `name`, or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


def listed(steps: Sequence[int]) -> str:
    """Return steps for a message, of many the first and the last ones."""
    if len(steps) > 30:
        return ", ".join(map(str, steps[:15])) + ", …, " + ", ".join(map(str, steps[-5:]))
    return ", ".join(map(str, steps))
