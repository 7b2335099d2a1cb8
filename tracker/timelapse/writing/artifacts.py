"""A run's files: samples, rounds, the latest table, the manifest, and the compaction at the end."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from timelapse import names
from timelapse.fence import Fence, attempt, describe
from timelapse.polite import is_too_large
from timelapse.resting import RestingFiles, listed_digest
from timelapse.rounds import Round, round_from_table, with_judgements
from timelapse.scoring.engine import Judges, Question, judge
from timelapse.scoring.health import onset_sentence
from timelapse.tables import latest_table, parquet_bytes, samples_schema
from timelapse.writing.client import announce_table
from timelapse.writing.compaction import compacted, main_onsets
from timelapse.writing.manifest import (
    manifest_bytes,
    new_manifest,
    with_conditions,
    with_files,
    with_fingerprints,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient

    from timelapse.reading.loader import RunRounds
    from timelapse.scoring.engine import Pace

T = TypeVar("T")


class RunArtifacts:
    """Writes the files under `timelapse/` of one run. Each method may be repeated: the result is the same.

    Round files never change. `samples.parquet`, `manifest.json` and `latest.json` are written anew when they
    have changed, `rounds.parquet` when the run comes to rest.

    Args:
        client: Where to.
        run_id: The run.
        folder: Where the round files that MLflow holds are kept until the run rests; made when needed.
        judges: What judges every prediction.
        fence: Takes the failures of scorers and validators.
        fresh: Whether the run holds nothing yet, because we have just created it.
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        folder: Path,
        judges: Judges,
        fence: Fence,
        *,
        fresh: bool,
    ) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._judges, self._fence = judges, fence
        self._manifest = new_manifest()
        self._samples: dict[tuple[str, str], dict[str, Any]] = {}
        self._questions: dict[str, dict[str, Question]] = {}
        self._previous: dict[str, Round] = {}
        self._bases: dict[str, Round | None] = {}
        self._judged: dict[str, tuple[pa.Table, Round, bytes]] = {}
        self._latest: Round | None = None
        self._foreign: dict[str, str] = {}
        self._joined = fresh
        self._samples_changed = self._samples_sent = False
        self._is_ours = fresh
        self._samples_size: int | None = None  # of the samples.parquet that we have read or written last
        self._listed_size: int | None = None  # and of the one that MLflow has
        self._announced = False
        self._compacted: bytes | None = None
        self.health: str | None = None
        """Which signs of broken generation came to stay; None before the run has rested."""
        self._elsewhere: Path | None = None

    def add_samples(self, table: pa.Table, about: Mapping[str, Any]) -> None:
        """Add samples to those of the run; they are sent with the next `tidy`."""
        self._join()
        for row in table.to_pylist():
            before = self._samples.get((row["set"], row["sample_id"]), {})
            self._add_sample({key: before.get(key) if new is None else new for key, new in row.items()})
        self._manifest = with_conditions(self._manifest, about, self._judges.deciding())
        for outdated in ("files", "covers"):
            self._manifest.pop(outdated, None)
        self._samples_changed = True

    def put_round(self, table: pa.Table, about: Mapping[str, Any], pace: Pace | None = None) -> Round:
        """Judge a round, send its file, and return it with its scores; `pace` as for `judge`."""
        self._join()
        if self._samples and not self._samples_sent:  # who sees a round must find its prompts
            self.tidy()
        round_ = round_from_table(table, about["seconds"])
        file = names.round_file(round_.step, round_.attempt, round_.set_name)
        before = self._judged.get(file)
        if before is not None and before[0].equals(table):  # judges may cost time and money: a retry does not
            _table, round_, data = before
        else:
            done, error = attempt(lambda: self._judgement(round_, table, pace))
            if done is None:
                assert error is not None
                self._fence.report("judging a round", describe(error), "It is stored without scores.")
            round_, data = done or (round_, parquet_bytes(table))
            self._judged[file] = (table, round_, data)
        self._send(file, data)
        return round_

    def _judgement(self, round_: Round, table: pa.Table, pace: Pace | None) -> tuple[Round, bytes]:
        """Return a round with what its judges say, and its file."""
        questions = self._questions.get(round_.set_name, {})
        judged, problems = judge(round_, questions, self._judges, self._base(round_), pace)
        for problem in problems:
            what, _failed, why = problem.partition(" failed: ")
            self._fence.report(what, why, "Its cells are left empty; everything else goes on.")
        whole = with_judgements(table, judged)
        if pace is not None:
            pace(0.0)
        return judged, parquet_bytes(whole)

    def previous(self, round_: Round) -> Round | None:
        """Return the set's round before this one, if it is known: at an earlier step, of no newer attempt."""
        found = self._previous.get(round_.set_name)
        if found and found.step < round_.step and found.attempt <= round_.attempt:
            return found
        return self._stored_before(round_)

    def remember(self, round_: Round) -> None:
        """Take a round as the newest of its set, now that MLflow holds it and its numbers."""
        self._previous[round_.set_name] = round_
        self._judged.pop(names.round_file(round_.step, round_.attempt, round_.set_name), None)
        if round_.set_name == names.DEFAULT_SET:
            self._latest = round_

    def tidy(self) -> None:
        """Send what has changed: samples with the manifest, and the latest table."""
        self._join()
        if self._samples_changed:
            if self._samples_sent or not self._is_ours:
                self._take_samples_of_others()
            self._send_samples()
            self._send(names.MANIFEST_FILE, manifest_bytes(self._manifest))
            self._samples_changed, self._samples_sent = False, True
        self._send_latest()

    def rest(self) -> RestingFiles | None:
        """Write all rounds into one file, and the manifest that says so; return what readers need to know.

        None if there is nothing to say: neither samples nor rounds.
        """
        self._join()
        self._send_latest()
        self._take_samples_of_others(look=not self._is_ours)
        covered = [self._local(file) for file in sorted(self._rounds())]
        if not covered and not self._samples:
            return None
        files = [self._send_samples()] if self._samples else []
        if covered and (whole := self._send_whole(covered)) is not None:
            files.append(whole)
        else:
            covered = []
        self._manifest = with_files(self._manifest, files, covered)
        manifest = manifest_bytes(self._manifest)
        self._send(names.MANIFEST_FILE, manifest)
        self._samples_changed, self._samples_sent = False, True
        return RestingFiles(
            hashlib.sha256(manifest).hexdigest(),
            listed_digest(self._manifest, names.SAMPLES_FILE),
            listed_digest(self._manifest, names.ROUNDS_FILE),
        )

    def _send_whole(self, covered: Sequence[Path]) -> Path | None:
        """Send all rounds in one file, and return where a copy lies; None if they have to be read singly."""
        data, error = attempt(lambda: compacted(covered))
        path, self._compacted = None, data
        if data is not None:
            onsets, _error = attempt(lambda: main_onsets(data))
            if onsets is not None:
                self.health = onset_sentence(onsets) or "no sign of broken generation came to stay"
            path, error = attempt(lambda: self._send(names.ROUNDS_FILE, data))
            if error is not None and not is_too_large(error):
                raise error
        if error is not None:
            self._fence.report("writing all rounds into one file", describe(error), "They are read singly.")
        return path

    def at_rest(self) -> RunRounds | None:
        """Return what the run holds since it came to rest; None if its rounds are not in one file."""
        if self._compacted is None:
            return None
        import pyarrow as pa

        from timelapse.reading.loader import RunRounds
        from timelapse.reading.parquet import read_round

        samples = pa.Table.from_pylist(list(self._samples.values()), schema=samples_schema())
        return RunRounds(read_round(self._compacted), samples, manifest=self._manifest)

    def stored_rounds(self, set_name: str) -> list[tuple[int, int]]:
        """Return step and attempt of every round of a set that the run holds."""
        self._join()
        return names.round_places(self._rounds(), set_name)

    def sample_set(self, set_name: str) -> Mapping[str, Any]:
        """Return `fingerprint` and `count` of a sample set, as the manifest has it; empty if it has not."""
        found: Mapping[str, Any] = self._manifest["sample_sets"].get(set_name, {})
        return found

    def put_text(self, file: str, text: str) -> None:
        """Send a text file."""
        self._send(file, text.encode())

    def _join(self) -> None:
        """Learn what the run holds already, written by others before us; once."""
        if self._joined:
            return
        self._foreign = self._listed()
        if names.MANIFEST_FILE in self._foreign:
            stored = self._fetched(names.MANIFEST_FILE, lambda path: dict(json.loads(path.read_bytes())))
            self._manifest = new_manifest() | (stored or {})
            self._manifest.pop("files", None)
            self._manifest.pop("covers", None)
        self._take_samples()
        self._samples_size = self._listed_size
        self._joined = True

    def _take_samples(self) -> None:
        """Take the samples that the run holds; of one that we have, too, what we know of it counts."""
        import pyarrow.parquet as pq

        if names.SAMPLES_FILE not in self._foreign:
            return
        rows = self._fetched(names.SAMPLES_FILE, lambda path: pq.read_table(path).to_pylist())
        for row in rows or ():
            mine = self._samples.get((row["set"], row["sample_id"]), {})
            self._add_sample(row | {key: value for key, value in mine.items() if value is not None})

    def _take_samples_of_others(self, *, look: bool = False) -> None:
        """Take what others have written over ours since: a forked child, or another process with this run.

        Their size tells. With `look` those of the same size are looked at as well, if that can be done:
        MLflow fetches files in threads of its own, which nobody can start any more while a program ends.
        """
        self._foreign |= self._listed()
        if self._listed_size != self._samples_size:
            self._take_samples()
        elif look:
            attempt(self._take_samples)

    def _fetched(self, file: str, read: Callable[[Path], T]) -> T | None:
        """Return what a file of the run says; None if it is cut off, as after a `kill -9` of its writer."""
        path = self._fetch(file)
        found, error = attempt(lambda: read(path))
        if error is not None:
            self._fence.report(
                f"reading the run's {file}", describe(error), "It is written anew, from what is known here."
            )
        return found

    def _add_sample(self, row: dict[str, Any]) -> None:
        self._samples[row["set"], row["sample_id"]] = row
        question = Question(row["prompt"], row["reference"])
        self._questions.setdefault(row["set"], {})[row["sample_id"]] = question

    def _listed(self) -> dict[str, str]:
        """Return the paths of the run's files in MLflow, by name."""
        listed = self._client.list_artifacts(self._run_id, names.ARTIFACT_FOLDER)
        found = {PurePosixPath(item.path).name: item for item in listed}
        samples = found.get(names.SAMPLES_FILE)
        self._listed_size = samples.file_size if samples else None
        return {name: item.path for name, item in found.items()}

    def _base(self, round_: Round) -> Round | None:
        """Return the set's first round, if it came before this one."""
        if round_.set_name not in self._bases:
            earlier = self._stored_earlier(round_)
            self._bases[round_.set_name] = self._stored(round_.set_name, min(earlier)) if earlier else round_
        base = self._bases[round_.set_name]
        return base if base is not None and base.step < round_.step else None

    def _stored_before(self, round_: Round) -> Round | None:
        """Return the newest stored round of the same set before this one."""
        earlier = self._stored_earlier(round_)
        newest = max(earlier, key=lambda place: (place[1], place[0]), default=None)
        return self._stored(round_.set_name, newest) if newest else None

    def _stored_earlier(self, round_: Round) -> list[tuple[int, int]]:
        return [
            place
            for place in self.stored_rounds(round_.set_name)
            if place[0] < round_.step and place[1] <= round_.attempt
        ]

    def _stored(self, set_name: str, place: tuple[int, int]) -> Round | None:
        """Return a round as it is stored; None if its file cannot be read."""
        import pyarrow.parquet as pq

        file = names.round_file(*place, set_name)
        found, _error = attempt(lambda: round_from_table(pq.read_table(self._local(file))))
        return found

    def _rounds(self) -> set[str]:
        """Return the names of all round files of the run: those of others, and those that we have sent."""
        own = {path.name for path in self._folder.iterdir()} if self._folder.exists() else set()
        return {file for file in {*self._foreign, *own} if names.round_place(file)}

    def _local(self, file: str) -> Path:
        path = self._folder / file
        return path if path.exists() else self._fetch(file)

    def _fetch(self, file: str) -> Path:
        place = self._elsewhere or self._folder
        place.mkdir(exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="timelapse-", dir=place) as folder:
            path = self._client.download_artifacts(self._run_id, self._foreign[file], folder)
            return Path(path).rename(place / file)

    def _send_samples(self) -> Path:
        import pyarrow as pa

        self._manifest = with_fingerprints(self._manifest, self._samples.values())
        table = pa.Table.from_pylist(list(self._samples.values()), schema=samples_schema())
        data = parquet_bytes(table)
        self._samples_size = len(data)
        return self._send(names.SAMPLES_FILE, data)

    def _send_latest(self) -> None:
        round_ = self._latest
        if round_ is None:
            return
        asked = [row for (set_name, _key), row in self._samples.items() if set_name == round_.set_name]
        self._send(names.LATEST_FILE, latest_table(round_, asked))
        if not self._announced:
            announce_table(self._client, self._run_id)
            self._announced = True
        self._latest = None

    def _send(self, file: str, data: bytes) -> Path:
        """Send a file, and return where a copy of it lies."""
        path = self._keep(file, data)
        self._client.log_artifact(self._run_id, str(path), names.ARTIFACT_FOLDER)
        if path.parent != self._folder and names.round_place(file):  # that disk is not ours to fill
            self._foreign[file] = f"{names.ARTIFACT_FOLDER}/{file}"
            path.unlink()
        return path

    def _keep(self, file: str, data: bytes) -> Path:
        """Write a file into our folder, or into a temporary one if that disk is full."""
        try:
            self._folder.mkdir(exist_ok=True, mode=0o700)
            aside = self._folder / f".{file}.part"
            aside.write_bytes(data)
            return aside.replace(self._folder / file)
        except OSError:
            if self._elsewhere is None:
                self._elsewhere = Path(tempfile.mkdtemp(prefix="timelapse-"))
                weakref.finalize(self, shutil.rmtree, self._elsewhere, ignore_errors=True)
            path = self._elsewhere / file
            path.write_bytes(data)
            return path
