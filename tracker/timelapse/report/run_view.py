"""One run as the pages show it: computed here, once, for page, API and report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from timelapse.analysis.deciding import deciding
from timelapse.analysis.trajectories import CLASSES, classify
from timelapse.errors import RunError
from timelapse.names import DEFAULT_SET
from timelapse.reading.choice import DEFAULT_SCORE, of_set
from timelapse.reading.records import set_names
from timelapse.report import documents
from timelapse.report.grid import Grid, arrange
from timelapse.report.marks import Mark, marks, sample_states
from timelapse.report.trends import MEASURED, trends
from timelapse.report.values import cut, found_by, from_json, is_texts, metadata_of, number, plain
from timelapse.rounds import TOKEN_IDS, round_schema
from timelapse.scoring.builtin import SCORERS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from timelapse.analysis.learning import Right
    from timelapse.reading.loader import RunRounds

_TAGS = "tags"
"""The user's column that says which tags a sample has, where no file of samples does."""


class RunView:
    """A run's rounds in one sample set.

    Args:
        loaded: What the run holds.
        set_name: The sample set; by default `main`, or the only one.
        attempt: Which attempt's rounds are shown; by default of each step the newest.

    Raises:
        RunError: There is no such set or attempt; says which there are.
    """

    def __init__(self, loaded: RunRounds, set_name: str | None = None, attempt: int | None = None) -> None:
        self.sets = set_names(loaded.rounds, loaded.samples) or [DEFAULT_SET]
        self.set_name = _checked("sample set", set_name or self.sets[0], self.sets)
        mine = of_set(loaded.rounds, self.set_name)
        self.attempts = sorted({each or 0 for each in mine.column("attempt").unique().to_pylist()})
        self.attempt = attempt if attempt is None else _checked("attempt", attempt, self.attempts)
        self.problems = list(loaded.problems)
        self._manifest = loaded.manifest
        self.samples_table: pa.Table = of_set(loaded.samples, self.set_name)
        """The set's samples in order, as `samples_table` makes them."""
        self._samples: list[dict[str, Any]] = self.samples_table.to_pylist()
        known = [row["sample_id"] for row in self._samples]
        self.grid: Grid = arrange(loaded.rounds, known, self.set_name, self.attempt)
        for row in self._samples:
            tags = [*(row["tags"] or ()), *self._logged_tags.get(row["sample_id"], ())]
            row["tags"] = list(dict.fromkeys(tags))

    @property
    def samples(self) -> Sequence[Mapping[str, Any]]:
        """The set's samples in order, each with the columns of `samples_schema`."""
        return self._samples

    @cached_property
    def classes(self) -> list[str | None]:
        """The class of each sample, in the order of `grid.sample_ids`."""
        return [sample_class for sample_class, _step in self._classes]

    @cached_property
    def right(self) -> Right | None:
        """What makes an answer right."""
        return deciding(self._manifest, self.grid.scores)

    @cached_property
    def marks(self) -> np.ndarray:
        """The marks of all answers, (lanes, rounds)."""
        return marks(self.grid, self.right)

    @property
    def main_score(self) -> str | None:
        """The score that decides: the one that says what is right, else the first."""
        names = list(self.grid.scores)
        if self.right is not None and self.right.score in names:
            return self.right.score
        return DEFAULT_SCORE if DEFAULT_SCORE in names else next(iter(names), None)

    @cached_property
    def steps(self) -> list[int]:
        """The steps of the rounds, ascending."""
        return [each.step for each in self.grid.rounds]

    def overview(self, run: documents.RunInfo) -> documents.Overview:
        """Return everything about the run but its answers' texts and scores."""
        main = self.main_score
        found = trends(self.grid, self.marks)
        means = found.get(main or "", [])
        known = [value for value in means if value is not None]
        samples = self._sample_infos()
        return documents.Overview(
            run=run,
            set=self.set_name,
            sets=self.sets,
            attempt=self.attempt,
            attempts=self.attempts,
            rounds=[self._round_info(place) for place in range(len(self.steps))],
            scores=[score_info(name) for name in sorted(self.grid.scores, key=lambda name: name != main)],
            right=documents.Right(*self.right) if self.right else None,
            trends=found,
            settled_since=self._settled_since(),
            best_step=self.steps[means.index(max(known))] if known else None,
            classes={name: sum(each.sample_class == name for each in samples) for name in CLASSES},
            samples=samples,
            lanes=self.grid.lanes.tolist(),
            marks=self.marks.tolist(),
            problems=self.problems,
        )

    def matrix(self, score: str) -> documents.Matrix:
        """Return one score of every answer, or `reference_nll` or `mean_logprob`.

        Raises:
            RunError: There is no such score; says which there are.
        """
        measured = score in MEASURED and score not in self.grid.scores
        values = (
            self.grid.numbers(score)
            if measured
            else self.grid.scores[_checked("score", score, list(self.grid.scores))]
        )
        return documents.Matrix(score, self.steps, [list(map(number, line)) for line in values.tolist()])

    def texts(self, lanes: Sequence[int]) -> documents.Texts:
        """Return what some lanes answered in every round.

        Raises:
            RunError: There is no such lane.
        """
        for lane in lanes:
            if not 0 <= lane < len(self.grid.lanes):
                raise RunError(f"There is no lane {lane}: there are {len(self.grid.lanes)}, counted from 0.")
        ends = self._cells("finish_reason", self.grid.places[list(lanes)])
        columns = self.grid.texts(lanes), self._errors(lanes), self._findings(lanes), ends
        return documents.Texts(
            self.steps,
            [
                documents.LaneTexts(lane, self._sample_of(lane).get("reference"), *found)
                for lane, *found in zip(lanes, *columns, strict=True)
            ],
        )

    def search(self, text: str) -> documents.Found:
        """Return where a text occurs in prompts, references and answers; case does not matter."""
        import pyarrow as pa
        import pyarrow.compute as pc

        asked = text.casefold()
        always = [
            lane
            for lane in range(len(self.grid.lanes))
            if any(
                asked in (self._sample_of(lane).get(name) or "").casefold()
                for name in ("prompt", "reference")
            )
        ]
        stored = self.grid.rows.column("prediction").combine_chunks()
        encoded = (stored if isinstance(stored, pa.Array) else stored.chunk(0)).dictionary_encode()
        has = [asked in (each or "").casefold() for each in encoded.dictionary.to_pylist()]
        hits = pc.fill_null(pa.array(has, pa.bool_()).take(encoded.indices), False).to_numpy(
            zero_copy_only=False
        )
        where = self.grid.spread(hits, False).astype(bool)
        return documents.Found(always, [where[:, at].nonzero()[0].tolist() for at in range(len(self.steps))])

    def timeline(self, sample_id: str) -> documents.Timeline:
        """Return one sample, and every answer to it.

        Raises:
            RunError: The set has no such sample.
        """
        ids = list(self.grid.sample_ids)
        if sample_id not in ids:
            raise RunError(f"Sample set '{self.set_name}' has no sample '{sample_id}'.")
        place = ids.index(sample_id)
        lanes = (self.grid.lanes[:, 0] == place).nonzero()[0].tolist()
        answers = self._answers(lanes)
        rounds = [{**round_._asdict(), "answers": answers[at]} for at, round_ in enumerate(self.grid.rounds)]
        sample_class, class_step = self._classes[place]
        row = self._samples[place] if place < len(self._samples) else {"sample_id": sample_id}
        names = ("sample_id", "prompt", "reference", "rendered_prompt", "source")
        sample = {name: row.get(name) for name in names} | {
            "index": self._index(place),
            "messages": from_json(row.get("messages")),
            "tools": from_json(row.get("tools")),
            "tags": list(row.get("tags") or ()),
            "metadata": metadata_of(row),
            "class": sample_class,
            "class_step": class_step,
        }
        return documents.Timeline(sample, rounds)

    def _answers(self, lanes: Sequence[int]) -> list[list[dict[str, Any]]]:
        """Return all columns of some lanes' answers, by round."""
        import numpy as np

        places = self.grid.places[list(lanes)].T
        columns, _lanes = np.nonzero(places >= 0)
        left_out = ("set", "sample_id", "step", "epoch", "trigger", "attempt")
        names = [name for name in self.grid.rows.column_names if name not in left_out]
        rows = self.grid.rows.select(names).take(places[places >= 0]).to_pylist()
        found: list[list[dict[str, Any]]] = [[] for _step in self.steps]
        for at, row in zip(columns.tolist(), rows, strict=True):
            found[at].append(plain(row))
        return found

    def _errors(self, lanes: Sequence[int]) -> list[list[str | None]]:
        return self._cells("error", self.grid.places[list(lanes)])

    def _findings(self, lanes: Sequence[int]) -> list[list[str | None]]:
        import numpy as np

        invalid = (self.marks[list(lanes)] & Mark.INVALID) > 0
        stored = self._cells("validations", np.where(invalid, self.grid.places[list(lanes)], -1))
        return [[found_by(each) if each else None for each in line] for line in stored]

    def _cells(self, column: str, places: np.ndarray) -> list[list[Any]]:
        """Return a stored column at some places, (lanes, rounds); None where the place is -1."""
        import pyarrow as pa

        wanted = pa.array(places.ravel(), mask=places.ravel() < 0)
        found = self.grid.rows.column(column).take(wanted).to_pylist()
        width = len(self.steps)
        return [found[lane * width : (lane + 1) * width] for lane in range(len(places))]

    def _sample_of(self, lane: int) -> Mapping[str, Any]:
        place = int(self.grid.lanes[lane, 0])
        return self._samples[place] if place < len(self._samples) else {}

    def _index(self, place: int) -> int:
        if place < len(self._samples):
            return int(self._samples[place]["index"])
        free = max((row["index"] for row in self._samples), default=-1) + 1
        return int(free + place - len(self._samples))

    def _round_info(self, at: int) -> documents.RoundInfo:
        round_, column = self.grid.rounds[at], self.marks[:, at]
        failed = int(((column & Mark.FAILED) > 0).sum())
        return documents.RoundInfo(*round_, rows=int((column > 0).sum()), failed=failed)

    @cached_property
    def _classes(self) -> list[tuple[str | None, int | None]]:
        """Return each sample's class, and the step of its last change between right and wrong."""
        if self.right is None or self.right.score not in self.grid.scores:
            return [(None, None)] * len(self.grid.sample_ids)
        found = []
        for line in sample_states(self.grid, self.right).tolist():
            known = [
                (step, bool(each))
                for step, each in zip(self.steps, line, strict=True)
                if not math.isnan(each)
            ]
            changes = [step for (_, before), (step, now) in pairwise(known) if before != now]
            found.append((classify([now for _, now in known]), changes[-1] if changes else None))
        return found

    def _sample_infos(self) -> list[documents.SampleInfo]:
        logged = self._logged_columns()
        found = []
        for place, (sample_class, class_step) in enumerate(self._classes):
            row = self._samples[place] if place < len(self._samples) else {}
            sample_id = self.grid.sample_ids[place]
            columns = {**metadata_of(row), **logged.get(sample_id, {})}
            found.append(
                documents.SampleInfo(
                    index=self._index(place),
                    sample_id=sample_id,
                    prompt=cut(row.get("prompt")),
                    reference=cut(row.get("reference")),
                    tags=list(row.get("tags") or ()),
                    metadata={str(name): cut(value) for name, value in columns.items() if value is not None},
                    sample_class=sample_class,
                    class_step=class_step,
                )
            )
        return found

    def _logged_columns(self) -> dict[str, dict[str, Any]]:
        """Return the user's columns of each sample's newest answer, by the sample's id."""
        ours = {*round_schema().names, *TOKEN_IDS, *((_TAGS,) if self._logged_tags else ())}
        names = [name for name in self.grid.rows.column_names if name not in ours]
        if not names:
            return {}
        rows = self.grid.rows.select(["sample_id", *names]).to_pylist()
        return {row.pop("sample_id"): row for row in rows}

    @cached_property
    def _logged_tags(self) -> dict[str, list[str]]:
        """Return the tags of each sample that came with its newest answer, in a user's column of lists."""
        rows = self.grid.rows
        if _TAGS not in rows.column_names or not is_texts(rows.schema.field(_TAGS).type):
            return {}
        pairs = zip(rows.column("sample_id").to_pylist(), rows.column(_TAGS).to_pylist(), strict=True)
        return {sample_id: list(filter(None, tags)) for sample_id, tags in pairs if tags is not None}

    def _settled_since(self) -> int | None:
        """Return the step since which no text changed until the last round."""
        ok, changed = (self.marks & Mark.OK) > 0, (self.marks & Mark.CHANGED) > 0
        since = None
        for at in range(len(self.steps) - 1, 0, -1):
            both = ok[:, at] & ok[:, at - 1]
            if not both.any() or (changed[:, at] & both).any():
                break
            since = self.steps[at - 1]
        return since


def _checked(what: str, wanted: Any, known: Sequence[Any]) -> Any:
    if wanted not in known:
        raise RunError(f"There is no {what} '{wanted}'. There are: {', '.join(map(str, known)) or 'none'}.")
    return wanted


def score_info(name: str) -> documents.ScoreInfo:
    """Return what is known of a score: of a built-in one its range, too."""
    known = SCORERS.get(name)
    if known is None:
        return documents.ScoreInfo(name, True, None, None)
    return documents.ScoreInfo(name, known.higher_is_better, known.low, known.high)
