"""What a check says, and the bound on how long it may take to say it."""

from __future__ import annotations

import threading
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from timelapse.fence import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

State = Literal["ok", "warning", "failed", "skipped"]

CHECK_SECONDS = 20.0
"""How long one check may take. A driver of a database or an object store may wait for minutes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    """What was looked at, in a word or two."""
    state: State
    """`ok`; `warning`: it works, but look; `failed`: mend it; `skipped`: it could not be looked at."""
    found: str
    """What is there."""
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def within(seconds: float, call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return what `fence.attempt` returns, or a `TimeoutError` if the call takes longer than that.

    The call runs in a thread that is left behind then, and does not keep the program from ending.
    """
    answers: list[tuple[T | None, BaseException | None]] = []
    work = copy_context().run
    thread = threading.Thread(target=lambda: answers.append(work(attempt, call)), name="check", daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else (None, TimeoutError(f"no answer within {seconds:g} seconds"))
