"""Like for like? What two runs must have in common before their scores can be held against each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timelapse.analysis.alignment import Pair
    from timelapse.analysis.history import History

ABSENT = "none"
"""Stands for a value that one run has and the other has not."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A thing in which two runs differ, with its value in each as text."""

    name: str
    """What differs: `decoding.max_new_tokens`, `chat_template`, a package, or a sample's id."""
    against: str
    """Its value in the run that is compared against."""
    run: str
    """Its value in the run."""

    def __str__(self) -> str:
        return f"{self.name}: {self.against} / {self.run}"


@dataclass(frozen=True, slots=True)
class LoneSample:
    """A sample that only one of two rounds holds."""

    sample_id: str
    """The hash of its question."""
    prompt: str | None
    """The question, if it is known."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a run and `against` have in common, and exactly what not."""

    run: str
    """Label of the run that is compared."""
    shared: int
    """Samples that both rounds hold."""
    only_against: tuple[LoneSample, ...]
    """Samples that only the round of `against` holds."""
    only_run: tuple[LoneSample, ...]
    """Samples that only the run's round holds."""
    references: tuple[Difference, ...]
    """Samples, by id, whose references differ: the same question, another expected answer."""
    settings: tuple[Difference, ...]
    """Sample set, chat template, decoding settings and number of draws that differ."""
    packages: tuple[Difference, ...]
    """Package versions that differ: a note, no verdict."""
    unknown: tuple[str, ...]
    """What cannot be compared, because a run did not record it."""

    @property
    def alike(self) -> bool:
        """Whether nothing is known that makes the comparison unfair."""
        return not (self.only_against or self.only_run or self.references or self.settings)

    def sentences(self, examples: int = 3) -> list[str]:
        """Return what differs or is not known, one sentence a finding, with a few examples of samples."""
        found = [str(difference) for difference in self.settings]
        for lone, whose in ((self.only_against, "only in against"), (self.only_run, "only in the run")):
            if lone:
                found.append(_with_examples(lone, whose, examples))
        if self.references:
            texts = "; ".join(shortened(str(each), 120) for each in self.references[:examples])
            more = "; …" if len(self.references) > examples else ""
            found.append(f"references that differ for a sample: {len(self.references)} ({texts}{more})")
        if self.packages:
            found.append(f"note, packages: {', '.join(map(str, self.packages))}")
        return found + [f"not recorded, so not compared: {', '.join(self.unknown)}"] * bool(self.unknown)


def shortened(text: str, length: int) -> str:
    """Return text of at most `length` characters, its end replaced by an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def likeness(label: str, against: History, run: History, pairs: Iterable[Pair]) -> Likeness:
    """Return what two runs have in common, given their rounds side by side."""
    pairs = list(pairs)
    shared = {pair.sample_id for pair in pairs if pair.shared}
    alone = [pair for pair in pairs if pair.sample_id not in shared]
    return Likeness(
        run=label,
        shared=len(shared),
        only_against=_lone(pair for pair in alone if pair.after.status == "missing"),
        only_run=_lone(pair for pair in alone if pair.before.status == "missing"),
        references=_reference_differences(against, run),
        settings=(*_setting_differences(against, run), *_draws(pairs)),
        packages=_differences("", _section(against, "packages"), _section(run, "packages")),
        unknown=_unknown(against, run),
    )


def _setting_differences(against: History, run: History) -> Iterator[Difference]:
    fingerprints = [_fingerprint(history) for history in (against, run)]
    if all(fingerprints) and fingerprints[0] != fingerprints[1]:
        yield Difference("sample_set", str(fingerprints[0]), str(fingerprints[1]))
    if all("chat_template" in history.manifest for history in (against, run)):
        templates = [{"chat_template": history.manifest["chat_template"]} for history in (against, run)]
        yield from _differences("", *templates)
    yield from _differences("decoding.", _section(against, "decoding"), _section(run, "decoding"))


def _draws(pairs: Sequence[Pair]) -> Iterator[Difference]:
    """Yield how many answers were drawn per sample, if that differs."""
    old = max((pair.generation + 1 for pair in pairs if pair.before.status != "missing"), default=0)
    new = max((pair.generation + 1 for pair in pairs if pair.after.status != "missing"), default=0)
    if old and new and old != new:
        yield Difference("answers per sample", str(old), str(new))


def _differences(
    prefix: str, against: Mapping[str, Any] | None, run: Mapping[str, Any] | None
) -> tuple[Difference, ...]:
    """Return the entries that differ, those of sections within sections under dotted names."""
    if against is None or run is None:
        return ()
    old, new = dict(_flat(prefix, against)), dict(_flat(prefix, run))
    return tuple(
        Difference(name, old.get(name, ABSENT), new.get(name, ABSENT))
        for name in sorted({*old, *new})
        if old.get(name, ABSENT) != new.get(name, ABSENT)
    )


def _flat(prefix: str, section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        elif value is not None:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value, default=str)


def _section(history: History, name: str) -> Mapping[str, Any] | None:
    """Return a section of the manifest; None where it is not recorded or empty."""
    found = history.manifest.get(name)
    return found if found and isinstance(found, Mapping) else None


def _fingerprint(history: History) -> str | None:
    entry = (_section(history, "sample_sets") or {}).get(history.set_name)
    return entry.get("fingerprint") if isinstance(entry, Mapping) else None


def _unknown(against: History, run: History) -> tuple[str, ...]:
    return tuple(sorted(_unrecorded(against) | _unrecorded(run)))


def _unrecorded(history: History) -> set[str]:
    recorded = {
        "sample set": _fingerprint(history) is not None,
        "chat template": "chat_template" in history.manifest,
        "decoding": _section(history, "decoding") is not None,
    }
    return {name for name, is_there in recorded.items() if not is_there}


def _reference_differences(against: History, run: History) -> tuple[Difference, ...]:
    return tuple(
        Difference(sample_id, *(ABSENT if text is None else repr(text) for text in (old, new)))
        for sample_id, sample in against.samples.items()
        if sample_id in run.samples
        and (old := sample["reference"]) != (new := run.samples[sample_id]["reference"])
    )


def _lone(pairs: Iterable[Pair]) -> tuple[LoneSample, ...]:
    return tuple({pair.sample_id: LoneSample(pair.sample_id, pair.prompt) for pair in pairs}.values())


def _with_examples(lone: Sequence[LoneSample], whose: str, examples: int) -> str:
    shown = "; ".join(repr(shortened(sample.prompt or sample.sample_id, 60)) for sample in lone[:examples])
    more = "; …" if len(lone) > examples else ""
    return f"samples {whose}: {len(lone)} ({shown}{more})"
