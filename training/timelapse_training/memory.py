"""Too little memory beside the training: smaller batches first, then rows that say what to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from timelapse.errors import TimelapseError
from timelapse.fence import attempt, describe, warn

T = TypeVar("T")
R = TypeVar("R")


class NoMemoryError(TimelapseError):
    """Not even one sample can be answered in the memory that the training leaves."""


@dataclass
class BatchLimit:
    """How many rows a batch may have; it shrinks when memory runs out, and never grows again."""

    rows: int | None = None
    """The most rows that may be tried together; None as long as memory has sufficed."""

    def halve(self, rows: int) -> None:
        """Note that a batch of this many rows did not fit."""
        self.rows = max(1, rows // 2)


@dataclass
class BatchLimits:
    """What is known of the memory, from round to round: hand the same object to each `generate`."""

    answers: BatchLimit = field(default_factory=BatchLimit)
    """Of the batches that are answered."""
    references: BatchLimit = field(default_factory=BatchLimit)
    """Of the batches whose reference loss is computed; they need memory of another kind (logits)."""


def in_batches(
    batches: Iterable[list[T]],
    work: Callable[[list[T]], list[R]],
    failed: Callable[[T, BaseException], R],
    limit: BatchLimit,
) -> Iterator[tuple[T, R]]:
    """Work through batches and yield each item with its result; nothing is raised.

    A batch for which memory does not suffice is halved, and so is `limit`; where a single item does not fit
    either, that item and all that are left have failed. After any other error in a batch its items are tried
    one by one, so that only the bad ones fail.

    Args:
        batches: What belongs together.
        work: Returns the results of a batch, one for each item.
        failed: Returns what stands for the result of an item that failed.
        limit: The most items of a batch; it is changed.
    """
    given_up: NoMemoryError | None = None
    for whole in batches:
        queue = deque(_parts(whole, limit.rows))
        while queue and given_up is None:
            batch = queue.popleft()
            results, error = attempt(partial(work, batch))
            if error is None:
                yield from zip(batch, results or (), strict=True)
            elif not is_out_of_memory(error):
                if len(batch) > 1:
                    queue.extendleft(reversed(_parts(batch, 1)))
                else:
                    yield batch[0], failed(batch[0], error)
            else:
                _release(error)
                queue.appendleft(batch)
                if len(batch) == 1:
                    given_up = _no_memory(error)
                else:
                    limit.halve(len(batch))
                    _say_less(len(batch), limit)
                    queue = deque(_parts([item for part in queue for item in part], limit.rows))
        for item in (item for part in queue for item in part):
            assert given_up is not None
            yield item, failed(item, given_up)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on a GPU or in torch's allocator of the CPU's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    # Elsewhere than on Linux, torch's allocator has other words for it.
    return should_reduce_batch_size(error) or "not enough memory: you tried to allocate" in str(error)


def _release(error: BaseException) -> None:
    """Free what a failed pass held: a traceback keeps the tensors of all its frames alive."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
    clear_device_cache(garbage_collection=True)


def _no_memory(error: BaseException) -> NoMemoryError:
    return NoMemoryError(
        "not even one sample fits into the memory that the training leaves, so the rest of this round is not "
        "tried. Lower predictions.max_new_tokens, shorten the prompts, or lower the training's batch size "
        f"({describe(error)[:200]})"
    )


def _say_less(rows: int, limit: BatchLimit) -> None:
    warn(
        f"Out of memory with {rows} samples in a batch: from now on at most {limit.rows} are taken together. "
        f"To avoid the attempt, set predictions.batch_size: {limit.rows}, or lower max_new_tokens."
    )


def _parts(batch: list[T], rows: int | None) -> list[list[T]]:
    rows = rows or len(batch)
    return [batch[start : start + rows] for start in range(0, len(batch), rows)]
