"""Reading a run's rounds from its artifacts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from typing import TYPE_CHECKING, Any

from timelapse import names
from timelapse.fence import attempt, describe
from timelapse.polite import polite_requests
from timelapse.reading.artifacts import RunArtifacts, Shared
from timelapse.reading.bounds import shortened
from timelapse.reading.cache import Cache
from timelapse.reading.parquet import no_rounds, read_round, read_samples, stacked
from timelapse.reading.rescored import with_rescored
from timelapse.reading.runs import ask
from timelapse.reading.threads import Threads
from timelapse.resting import RestingFiles, listed_digest
from timelapse.tables import samples_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import pyarrow as pa
    from mlflow import MlflowClient

    from timelapse.reading.ahead import FilesAhead
    from timelapse.reading.bounds import Budget
    from timelapse.reading.files import RunFiles

    Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunRounds:
    """What a run holds: rounds, samples, and what could not be read."""

    rounds: pa.Table
    """A row a prediction, of every round and attempt: the columns of `round_schema`, then any others."""
    samples: pa.Table
    """A row a sample, in the set's order, as `samples_table` makes it."""
    problems: tuple[str, ...] = ()
    """A sentence for every file that is damaged or vanished; its rows are missing above."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What manifest.json says; empty where there is none, or nobody asked for it."""


def load_rounds(client: MlflowClient, run_id: str) -> RunRounds:
    """Read all rounds of a run, and its samples. A file that cannot be read is reported, not fatal.

    Raises:
        RunError: There is no such run, or MLflow does not answer when asked which files there are.
    """
    run = ask(client.tracking_uri, lambda: client.get_run(run_id))
    cache = Cache.open()
    with polite_requests(), Shared(client.tracking_uri) as shared, Threads() as downloads:
        loaded = read_run(RunArtifacts(client, run, cache, shared), downloads, conditions=True)
    cache.close()
    return loaded


def expect_run(artifacts: RunArtifacts, ahead: FilesAhead) -> None:
    """Begin to fetch the rounds of a run at rest, which `read_run` will soon want."""
    resting = RestingFiles.parse(artifacts.tags.get(names.TAG_MANIFEST, ""))
    if resting is not None and resting.rounds is not None:
        artifacts.expect(names.ROUNDS_FILE, resting.rounds, ahead)


def read_run(
    artifacts: RunFiles, downloads: Threads, skip: Collection[str] = (), *, conditions: bool = False
) -> RunRounds:
    """Read a run as `load_rounds` does, but for the round columns in `skip`.

    A run at rest is read by the content hashes in a tag of the run: what the cache has costs no request. Any
    other is asked which files it has. The manifest is surely there only with `conditions`.
    """
    loaded = _at_rest(artifacts, downloads, skip, conditions) or _in_motion(artifacts, downloads, skip)
    rounds, problems = with_rescored(loaded.rounds, artifacts, downloads)
    if artifacts.budgets is not None:
        rounds, cut = shortened(rounds, artifacts.budgets.rounds.bounds.characters)
        problems += cut
    return replace(loaded, rounds=rounds, problems=(*loaded.problems, *problems))


def _at_rest(
    artifacts: RunFiles, downloads: Threads, skip: Collection[str], conditions: bool
) -> RunRounds | None:
    """Return what a run at rest holds; None if somebody writes to it, or a file is not as it should be."""
    resting = RestingFiles.parse(artifacts.tags.get(names.TAG_MANIFEST, ""))
    if resting is None:
        return None
    manifest: Manifest = {}
    if conditions or resting.rounds is None:
        read = partial(artifacts.verified, names.MANIFEST_FILE, resting.manifest, _manifest)
        found, errors = downloads.all({"it": read})
        if errors:
            return None
        manifest = found["it"]
    samples = resting.samples or listed_digest(manifest, names.SAMPLES_FILE)
    rounds = resting.rounds or listed_digest(manifest, names.ROUNDS_FILE)
    if samples is None or rounds is None:
        return None
    coming = downloads.begin(partial(_samples, artifacts), samples)
    # In this thread, and not in one that downloads: at each change of threads Python's lock is waited for.
    decode = partial(artifacts.verified, names.ROUNDS_FILE, rounds, _decoder(artifacts, skip))
    tables, error = attempt(lambda: (decode(), coming.result()))
    if tables is None or error is not None:
        return None
    return RunRounds(*tables, manifest=manifest)


def _in_motion(artifacts: RunFiles, downloads: Threads, skip: Collection[str]) -> RunRounds:
    """Return what a run holds whose files may change: what the manifest does not cover is read singly."""
    for budget in artifacts.budgets or ():
        budget.renew()
    sizes = artifacts.sizes()
    manifest, problems = _current_manifest(artifacts, downloads, sizes)
    compacted = _compacted(artifacts, downloads, manifest, skip)
    covered = manifest.get("covers", {})
    if compacted is None and (lost := sorted(set(covered) - set(sizes))):
        problems.append(f"{names.ROUNDS_FILE} cannot be read, which alone holds {', '.join(lost)}")
    rounds, unread = _single_rounds(
        artifacts, downloads, sizes, covered if compacted is not None else {}, skip
    )
    if compacted is not None:
        rounds, conflicts = stacked([_without(compacted, rounds), rounds])
        unread += conflicts
    samples, unknown = _current_samples(artifacts, downloads, sizes, manifest, needed=len(rounds) > 0)
    return RunRounds(rounds, samples, tuple(dict.fromkeys(problems + unread + unknown)), manifest)


def _current_manifest(
    artifacts: RunFiles, downloads: Threads, sizes: Mapping[str, int | None]
) -> tuple[Manifest, list[str]]:
    if names.MANIFEST_FILE not in sizes:
        return {}, []
    read = {names.MANIFEST_FILE: lambda: _manifest(artifacts.current(names.MANIFEST_FILE))}
    found, errors = downloads.all(read)
    return found.get(names.MANIFEST_FILE, {}), _unreadable(errors)


def _compacted(
    artifacts: RunFiles, downloads: Threads, manifest: Manifest, skip: Collection[str]
) -> pa.Table | None:
    """Return the rows of rounds.parquet; None if it is not there, or not the one of this manifest."""
    sha256 = listed_digest(manifest, names.ROUNDS_FILE)
    if sha256 is None:
        return None
    decode = _decoder(artifacts, skip)
    found, _ = downloads.all({"it": partial(artifacts.verified, names.ROUNDS_FILE, sha256, decode)})
    return found.get("it")


def _single_rounds(
    artifacts: RunFiles,
    downloads: Threads,
    sizes: Mapping[str, int | None],
    covered: Mapping[str, Any],
    skip: Collection[str],
) -> tuple[pa.Table, list[str]]:
    """Return the rows of the round files that rounds.parquet does not hold, or not as they are now."""
    decode = _decoder(artifacts, skip)
    wanted = [
        file
        for file, size in sorted(sizes.items())
        if fnmatch(file, "round-*.parquet")
        and (file not in covered or size not in (None, covered[file].get("size")))
    ]
    tables, errors = downloads.all(
        {file: partial(artifacts.immutable, file, sizes[file], decode) for file in wanted}
    )
    rounds, conflicts = stacked([no_rounds(skip), *tables.values()])
    return rounds, _unreadable(errors) + conflicts


def _current_samples(
    artifacts: RunFiles,
    downloads: Threads,
    sizes: Mapping[str, int | None],
    manifest: Manifest,
    *,
    needed: bool,
) -> tuple[pa.Table, list[str]]:
    """Return the samples, and what is wrong with them; `needed`: there are rounds that answer them."""
    file = names.SAMPLES_FILE
    if file not in sizes:
        missing = [f"{file} is missing: prompts and references are not known"] if needed else []
        return samples_table([], {}), missing
    found: dict[str, pa.Table] = {}
    if (sha256 := listed_digest(manifest, file)) is not None:
        found, _ = downloads.all({file: partial(_samples, artifacts, sha256)})
    errors: dict[str, BaseException] = {}
    if not found:  # no manifest yet, or an older one than the samples
        found, errors = downloads.all({file: lambda: _current(artifacts, file)})
    return found.get(file, samples_table([], {})), _unreadable(errors)


def _samples(artifacts: RunFiles, sha256: str) -> pa.Table:
    """Return samples by the hash of their file, which runs of one training script mostly share."""
    decode = partial(read_samples, budget=_samples_budget(artifacts))
    return artifacts.once(sha256, lambda: artifacts.verified(names.SAMPLES_FILE, sha256, decode))


def _current(artifacts: RunFiles, file: str) -> pa.Table:
    return read_samples(artifacts.current(file), _samples_budget(artifacts))


def _samples_budget(artifacts: RunFiles) -> Budget | None:
    return artifacts.budgets.samples if artifacts.budgets else None


def _decoder(artifacts: RunFiles, skip: Collection[str]) -> Callable[[bytes], pa.Table]:
    budget = artifacts.budgets.rounds if artifacts.budgets else None
    return partial(read_round, skip=skip, budget=budget)


def _without(compacted: pa.Table, single: pa.Table) -> pa.Table:
    """Return the compacted rows but for those of rounds that were read singly: none counts twice."""
    import pyarrow.compute as pc

    if not len(single):
        return compacted
    again = pc.is_in(_round_keys(compacted), value_set=pc.unique(_round_keys(single)))
    return compacted.filter(pc.invert(again))


def _round_keys(rounds: pa.Table) -> pa.ChunkedArray:
    """Return set, step and attempt of each row as one text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    step, attempt_ = rounds.column("step"), pc.fill_null(rounds.column("attempt"), 0)
    set_name = pc.fill_null(rounds.column("set"), names.DEFAULT_SET)
    return pc.binary_join_element_wise(set_name, step.cast(pa.string()), attempt_.cast(pa.string()), "/")


def _manifest(content: bytes) -> Manifest:
    manifest = json.loads(content)
    if not isinstance(manifest, dict):
        raise ValueError("it holds no JSON object")
    for part in ("files", "covers"):
        entries = manifest.get(part, {})
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise ValueError(f"its entry '{part}' does not map file names to objects")
    return manifest


def _unreadable(errors: Mapping[str, BaseException]) -> list[str]:
    return [f"{file} cannot be read: {describe(error)}" for file, error in errors.items()]
