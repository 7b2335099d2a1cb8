"""Rounds in a training of several processes: each rank answers its part, rank 0 puts them together.

Rank 0 leads. While it makes a round, the other ranks serve: they wait for what it asks, answer their part of
the samples, hand it back, and go on when it says that it is done. So whatever rank 0 decides by its own clock
(a budget, a sample set that is not due) needs no agreement, and a failure on one rank is data for the others.
"""

from __future__ import annotations

import pickle
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from timelapse.errors import TimelapseError
from timelapse.fence import Fence, attempt, describe
from timelapse.samples import Sample, SampleSet
from timelapse_training.generation import GenerationSettings, failed_round, generate
from timelapse_training.sharding import free_bytes, is_sharded, shortage, whole_bytes, whole_model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from timelapse.rounds import Prediction, Round

_LOST = "Predictions go on without the other ranks."


class RanksError(TimelapseError):
    """The ranks of a training cannot answer together, or not at all."""


Numbers = dict[str, float]
"""What a round tells all ranks, by name: such as a score by which the trainer stops."""


class Ranks(ABC):
    """The processes of a training, as each of them sees them."""

    @abstractmethod
    def together(self, make: Callable[[], Numbers | None], model: Any) -> Numbers:
        """Make a round on rank 0 while the others serve it, and return what it tells, on every rank alike.

        All ranks must call this at the same event. Whether that leads to a round, and to which, is for
        `make` to decide.

        Args:
            make: Makes the round; called on rank 0 only.
            model: The model as the trainer hands it to callbacks, wrapped or not.
        """

    @abstractmethod
    def generate(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        samples: SampleSet | Sequence[Sample],
        settings: GenerationSettings,
        **about: Any,
    ) -> Round:
        """Let the trainer's model answer samples, as `timelapse_training.generate` does a bare one.

        Args:
            model: The model as the trainer hands it to callbacks, wrapped or not.
            tokenizer: Its tokenizer.
            samples: What to answer.
            settings: How to decode.
            about: Further keywords of `generate`, such as `step`.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the other ranks."""


@dataclass
class Alone(Ranks):
    """One process answers all samples: the only one, or rank 0 without the others."""

    others: str | None = None
    """Why the other ranks of the training do not take part; None if there are none."""

    def together(self, make: Callable[[], Numbers | None], model: Any) -> Numbers:
        """Make the round here."""
        return make() or {}

    def generate(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        samples: SampleSet | Sequence[Sample],
        settings: GenerationSettings,
        **about: Any,
    ) -> Round:
        """Answer all samples here."""
        if self.others is not None and is_sharded(model):
            raise RanksError(f"the weights are split over ranks that do not take part: {self.others}")
        with whole_model(model) as bare:
            return generate(bare, tokenizer, samples, settings, **about)

    def close(self) -> None:
        """Do nothing: there is nobody to let go of."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """What rank 0 asks the others."""

    samples: SampleSet
    settings: GenerationSettings
    about: dict[str, Any]


@dataclass
class Group(Ranks):
    """All ranks of a training, each of which answers every world-th sample."""

    rank: int
    """This process."""
    world: int
    """How many there are."""
    group: dist.ProcessGroup
    """A group of our own on CPUs: it has its own timeout, and objects need no detour over GPUs."""
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    """Returns this rank's tokenizer, for what rank 0 asks."""
    fence: Fence
    """Takes the failures."""
    lost: str | None = field(default=None, init=False)
    """Why the ranks no longer talk to each other; None while they do."""

    def together(self, make: Callable[[], Numbers | None], model: Any) -> Numbers:
        """Lead the others through a round, or serve it; it is over for all when it is over on rank 0."""
        if self.rank != 0:
            return self._serve(model)
        numbers: Numbers = {}
        try:
            numbers = make() or {}
        finally:
            self.talk(lambda: self.send(numbers))
        return numbers

    def generate(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        samples: SampleSet | Sequence[Sample],
        settings: GenerationSettings,
        **about: Any,
    ) -> Round:
        """Have each rank answer its part, and return the round as if one had answered all, in their order."""
        if self.lost is not None:
            return Alone(self.lost).generate(model, tokenizer, samples, settings, **about)
        started = time.perf_counter()
        whole = samples if isinstance(samples, SampleSet) else SampleSet(tuple(samples))
        ask = _Ask(whole, settings, about)
        pickle.dumps(ask)  # what cannot be sent is an error here, before the others hear of it
        self.talk(lambda: self.send(ask))
        own = self._answer(model, tokenizer, ask)
        parts = self.talk(lambda: self._gather(own)) or [own, *[None] * (self.world - 1)]
        return self._merged(ask, parts, time.perf_counter() - started)

    def _serve(self, model: Any) -> Numbers:
        """Answer what rank 0 asks until its round is over, and return what it tells."""
        while self.lost is None:
            message = self.talk(self.receive)
            if not isinstance(message, _Ask):
                return message or {}
            ask = replace(message, settings=replace(message.settings, progress=False))
            self.talk(partial(self._gather, self._served(model, ask)))
        return {}

    def _served(self, model: Any, ask: _Ask) -> Round:
        tokenizer, error = attempt(self.tokenizer)
        if tokenizer is None:
            return _failed(self._part(ask.samples, self.rank), error or RanksError(), ask)
        return self._answer(model, tokenizer, ask)

    def send(self, message: Any) -> None:
        """Hand a message to all other ranks, which `receive` it."""
        dist.broadcast_object_list([message], src=0, group=self.group)

    def receive(self) -> Any:
        """Return what rank 0 sends next."""
        box: list[Any] = [None]
        dist.broadcast_object_list(box, src=0, group=self.group)
        return box[0]

    def close(self) -> None:
        """Take the group apart; none of the ranks waits for another."""
        with self.fence.guard("letting go of the other ranks", "The training goes on."):
            dist.destroy_process_group(self.group)

    def talk(self, call: Callable[[], Any]) -> Any:
        """Return what a call that talks to the other ranks returns; None if they are lost, now or before.

        A timeout or a process that is gone is said once; the ranks are then not waited for again.
        """
        if self.lost is not None:
            return None
        answer, error = attempt(call)
        if error is not None:
            self.lost = describe(error)
            self.fence.report("talking to the other ranks", self.lost, _LOST)
        return answer

    def _gather(self, part: Round) -> list[Round | None] | None:
        parts: list[Round | None] | None = [None] * self.world if self.rank == 0 else None
        dist.gather_object(part, parts, dst=0, group=self.group)
        return parts

    def _answer(self, model: Any, tokenizer: PreTrainedTokenizerBase, ask: _Ask) -> Round:
        """Return this rank's part of a round; an error becomes rows, so that the others need not wait."""
        mine = self._part(ask.samples, self.rank)

        def answer() -> Round:
            self._check_room(model)
            with whole_model(model) as bare:
                return generate(bare, tokenizer, mine, ask.settings, **ask.about)

        part, error = attempt(answer)
        return part if part is not None else _failed(mine, error or RanksError(), ask)

    def _check_room(self, model: Any) -> None:
        """Raise, on every rank alike, if the whole weights do not fit on one of them."""
        if not is_sharded(model):
            return
        free: list[Any] = [None] * self.world
        self.talk(lambda: dist.all_gather_object(free, free_bytes(), group=self.group))
        if self.lost is not None:
            raise RanksError(f"the ranks cannot put the weights together: {self.lost}")
        if sentence := shortage(whole_bytes(model, self.world), free):
            raise RanksError(sentence)

    def _part(self, samples: SampleSet, rank: int) -> SampleSet:
        return replace(samples, samples=samples[rank :: self.world])

    def _merged(self, ask: _Ask, parts: Sequence[Round | None], seconds: float) -> Round:
        """Return the parts as one round, in the samples' order."""
        silent = RanksError(f"the rank that had this sample did not answer: {self.lost}")
        found = [
            part or _failed(self._part(ask.samples, rank), silent, ask) for rank, part in enumerate(parts)
        ]
        rows: dict[str, list[Prediction]] = defaultdict(list)
        for part in found:
            for row in part.predictions:
                rows[row.sample_id].append(row)
        ordered = tuple(row for sample in ask.samples for row in rows[sample.sample_id])
        return replace(found[0], predictions=ordered, seconds=seconds)


def _failed(samples: SampleSet, error: BaseException, ask: _Ask) -> Round:
    step, epoch, trigger = (ask.about.get(name) for name in ("step", "epoch", "trigger"))
    return failed_round(
        samples,
        error,
        step=step or 0,
        epoch=epoch,
        trigger=trigger or "manual",
        generations=ask.settings.generations,
    )
