"""The ledger: what a run holds, as far as this process knows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from timelapse import attempts, names
from timelapse.answers import KnownSamples
from timelapse.errors import RunError
from timelapse.fence import attempt

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

    from timelapse.samples import SampleSet

Place = tuple[str, int, int]
"""Where a round belongs: sample set, step, attempt."""


class Ledger:
    """Sample sets and rounds of one run: MLflow is asked once, then the ledger is kept by what is logged.

    Args:
        ask: Returns MLflow's client and the run's id; None for a run that MLflow does not have yet.
        fresh: Whether the run holds nothing yet, so that nobody needs to be asked.
    """

    def __init__(self, ask: Callable[[], tuple[MlflowClient, str] | None], *, fresh: bool) -> None:
        self._ask = ask
        self._stored = attempts.Stored() if fresh else None
        self._failed = False
        self._samples: dict[str, KnownSamples] = {}
        self._attempts: dict[str, int] = {}
        self._logged: dict[Place, int] = {}
        self._mine: set[str] = set()
        self._files: set[str] | None = None

    @property
    def is_tentative(self) -> bool:
        """Whether MLflow has not told what the run holds, so that attempts may have to be counted on.

        Once it has not, it is not asked again: what was guessed stays a guess, and nobody waits for it twice.
        """
        return self._held() is None

    def rounds(self) -> int:
        """Return how many rounds the run holds, those on their way included."""
        if self._files is None and (held := self._held()) is not None:
            self._files = {file for file in held.files if names.round_place(file)} | self._mine
        return len(self._mine if self._files is None else self._files)

    def logged(self) -> int:
        """Return how many rounds have been logged here."""
        return len(self._logged)

    def enter(self, place: Place, table: pa.Table) -> Place | None:
        """Take a round, and return its place; None if the same was logged before.

        Other rows at the same place become the next attempt there.
        """
        content = _checksum(table)
        set_name, step, number = place
        while (before := self._logged.get((set_name, step, number))) is not None:
            if before == content:
                return None
            number += 1
        self._logged[set_name, step, number] = content
        file = names.round_file(step, number, set_name)
        self._mine.add(file)
        if self._files is not None:
            self._files.add(file)
        return (set_name, step, number)

    def next_attempt(self, samples: SampleSet, step: int) -> int:
        """Return the attempt of a training that begins at a step; see `TrainingRun.next_attempt`."""
        held = self._held() or attempts.Stored()
        before = held.fingerprints.get(samples.name)
        if before not in (None, samples.fingerprint) and held.rounds(samples.name):
            raise RunError(
                f"The run holds rounds of other samples in its set '{samples.name}'. The difference: "
                f"{self._difference(samples)}. Use the same samples or another run, or keep both: store "
                "these under a name of their own (sample_set='v2')."
            )
        here = [(at, number) for name, at, number in self._logged if name == samples.name]
        return attempts.next_attempt([*held.rounds(samples.name), *here], step)

    def attempt_at(self, set_name: str, step: int) -> int:
        """Return the attempt of answers that begin at a step: later than what was there or behind it."""
        if set_name not in self._attempts:
            held = self._held() or attempts.Stored()
            self._attempts[set_name] = attempts.next_attempt(held.rounds(set_name), step - 1)
        return self._attempts[set_name]

    def samples(self, set_name: str) -> KnownSamples:
        """Return the samples of a set so far: those logged here, and those that the run held before."""
        if set_name not in self._samples:
            rows: Mapping[str, dict[str, Any]] | None = None
            held, asked = self._held(), self._ask()
            if held is not None and asked is not None and set_name in held.fingerprints:
                rows, _error = attempt(lambda: attempts.stored_samples(*asked, set_name))
            self._samples[set_name] = KnownSamples((rows or {}).values())
        return self._samples[set_name]

    def enter_samples(self, set_name: str, rows: list[dict[str, Any]]) -> None:
        """Take a whole sample set."""
        self._samples.setdefault(set_name, KnownSamples()).add(rows)

    def _held(self) -> attempts.Stored | None:
        """Return what MLflow held when it was first asked; None if it does not answer."""
        if self._stored is None and not self._failed and (asked := self._ask()) is not None:
            self._stored, error = attempt(lambda: attempts.stored(*asked))
            self._failed = error is not None
        return self._stored

    def _difference(self, samples: SampleSet) -> str:
        asked = self._ask()
        assert asked is not None, "it has told us of other samples"
        found, error = attempt(lambda: attempts.difference(*asked, samples))
        return found or f"unknown, because they cannot be read ({error})"


def _checksum(table: pa.Table) -> int:
    """Return the CRC-32 of a table's content: equal for rows that are logged again."""
    checksum = 0
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                if buffer is not None:
                    checksum = zlib.crc32(buffer, checksum)
    return checksum
