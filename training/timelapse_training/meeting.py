"""How the ranks of a training begin together: all make predictions, or none does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import torch.distributed as dist
from torch.distributed import distributed_c10d

from timelapse.fence import Fence, attempt, describe
from timelapse_training.distributed import Alone, Group, Ranks, RanksError
from timelapse_training.roll_call import missing_ranks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

S = TypeVar("S")

_ALONE = "Rank 0 answers alone. The training goes on."


@dataclass(frozen=True, slots=True)
class _Begun:
    """How rank 0 began."""

    session: bool
    """Whether it makes predictions."""
    error: str | None
    """Why it could not begin."""


def open_on_ranks(
    lead: Callable[[Ranks], S | None],
    tokenizer: Callable[[], PreTrainedTokenizerBase],
    fence: Fence,
    patience: float,
) -> tuple[Ranks | None, S | None]:
    """Open a session on rank 0, and return how this rank takes part, with the session.

    Either all ranks take part or none does (None). In a training of one process this is `lead(Alone())`.

    Args:
        lead: Opens the session; called on rank 0 only. None: no predictions are made.
        tokenizer: Returns the model's tokenizer, for the other ranks.
        fence: Takes the failures.
        patience: Seconds that ranks wait for each other; as long as the training itself waits.

    Raises:
        RanksError: On the other ranks, if `lead` raises on rank 0, where its own error is raised.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return _opened(Alone(), lead)
    rank, world = dist.get_rank(), dist.get_world_size()
    group, error = attempt(lambda: _meet(rank, world, patience))
    if group is None:
        reason = describe(error or RanksError())
        fence.report("meeting the other ranks", reason, _ALONE)
        return _opened(Alone(reason), lead) if rank == 0 else (None, None)
    ranks = Group(rank, world, group, tokenizer, fence)
    return _lead(ranks, lead) if rank == 0 else (_follow(ranks), None)


def _meet(rank: int, world: int, patience: float) -> dist.ProcessGroup:
    """Return a group of all ranks, once it is sure that they all ask for it."""
    if absent := missing_ranks(distributed_c10d._get_default_store(), rank, world):
        raise RanksError(absent)
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=patience))
    assert isinstance(group, dist.ProcessGroup)
    return group


def _opened(ranks: Ranks, lead: Callable[[Ranks], S | None]) -> tuple[Ranks | None, S | None]:
    session = lead(ranks)
    return (None if session is None else ranks), session


def _lead(ranks: Group, lead: Callable[[Ranks], S | None]) -> tuple[Ranks | None, S | None]:
    """Open the session, and tell the others how that went before anything else happens."""
    session, error = attempt(lambda: lead(ranks))
    begun = _Begun(session is not None, describe(error) if error else None)
    ranks.talk(lambda: ranks.send(begun))
    if session is None:
        ranks.close()
    if error is not None:
        raise error
    return (None if session is None else ranks), session


def _follow(ranks: Group) -> Ranks | None:
    begun = ranks.talk(ranks.receive)
    if begun is not None and begun.session:
        return ranks
    ranks.close()
    if begun is not None and begun.error is not None:
        raise RanksError(f"Rank 0 could not begin the predictions: {begun.error}")
    return None
