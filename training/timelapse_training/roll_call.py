"""The roll call: do all ranks of a training have the callback? Asked before the first collective operation.

A script that gives the callback to rank 0 alone is common. A collective operation would then wait for ever
for ranks that will never take part in it; the store through which they found each other can be asked instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

PRESENT_SECONDS = 60.0
"""How long rank 0 waits for the others. They come from the same collective operation, the wrapping of the
model, and so differ by no more than what other callbacks do before ours."""
VERDICT_SECONDS = 300.0
"""How long the others wait for rank 0, where such callbacks usually do their work."""
COMPLETE = "complete"


@dataclass
class _Register:
    """What this process knows of its roll calls, which all ranks count alike as long as they are complete."""

    calls: int = 0
    """How many there were."""
    absent: str | None = None
    """The first verdict that was not complete: ranks count differently from then on."""


register = _Register()


class Store(Protocol):
    """What is needed of `torch.distributed.Store`."""

    def set(self, key: str, value: str, /) -> None:
        """Write a value."""

    def wait(self, keys: list[str], timeout: timedelta, /) -> None:
        """Wait for keys; `DistStoreError` after the time."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Write `desired` if the value is `expected` (empty: there is none), and return what now stands."""


def missing_ranks(store: Store, rank: int, world: int) -> str | None:
    """Return None if every rank of this training has called this, else a sentence: who has not.

    All ranks that call it get the same answer: the first verdict that is written holds, also when rank 0
    comes late to ranks that have given up waiting. A verdict that names ranks holds for the whole process.

    Args:
        store: The process group's store.
        rank: This process.
        world: How many processes there are.
    """
    if register.absent is not None:
        return register.absent
    room = f"timelapse/{register.calls}"
    register.calls += 1
    verdict = f"{room}/verdict"
    if rank == 0:
        absent = [other for other in range(1, world) if not _came(store, f"{room}/{other}", PRESENT_SECONDS)]
        found = _sentence(absent) if absent else COMPLETE
    else:
        store.set(f"{room}/{rank}", "here")
        found = COMPLETE if _came(store, verdict, VERDICT_SECONDS) else _sentence([0])
    held = store.compare_set(verdict, "", found).decode()
    register.absent = None if held == COMPLETE else held
    return register.absent


def _came(store: Store, key: str, seconds: float) -> bool:
    try:
        store.wait([key], timedelta(seconds=seconds))
    except RuntimeError:  # DistStoreError, after the time
        return False
    return True


def _sentence(absent: list[int]) -> str:
    ranks = ", ".join(map(str, absent))
    return f"rank {ranks} has no PredictionsCallback: give it to the trainer on every rank"
