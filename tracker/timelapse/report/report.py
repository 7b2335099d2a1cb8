"""A run's report: the run page with its data inside, in one HTML file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from timelapse.report.linking import html_file
from timelapse.report.run_view import RunView
from timelapse.report.trends import MEASURED

if TYPE_CHECKING:
    from timelapse.reading.loader import RunRounds
    from timelapse.report.documents import RunInfo, Timeline

MAX_BYTES = 20_000_000
"""How large a report becomes unless it is told otherwise."""

_STYLES = ("timelapse.css", "run_page.css", "vendor/uplot.css")
_ENTRY = "report_page.js"


@dataclass(frozen=True, slots=True)
class Report:
    """A report, and what is not in it."""

    html: str
    """The file's text."""
    left_out: list[str]
    """A sentence for each set of which something did not fit."""


def make_report(
    info: RunInfo, loaded: RunRounds, set_names: Sequence[str] = (), max_bytes: int = MAX_BYTES
) -> Report:
    """Return a run as one HTML file that shows everything a server's page would, and loads nothing.

    All scores of a set are in it, or nothing of the set. The samples' texts follow in order until the file
    would be larger than `max_bytes`; the page says which are left out.

    Args:
        info: What MLflow says of the run.
        loaded: What the run holds.
        set_names: Which sample sets; by default all of them, `main` first.
        max_bytes: How large the file may become.

    Raises:
        RunError: There is no such sample set; says which there are.
    """
    room = _Room(max_bytes - len(_file(info, "{}").encode()))
    wanted = list(set_names) or RunView(loaded).sets
    views = [RunView(loaded, name) for name in wanted]
    older = [RunView(loaded, view.set_name, number) for view in views for number in view.attempts[:-1]]
    parts, left_out = {}, []
    for view in (*views, *older):
        part, missing = _view(view, info, room)
        if part is not None:
            parts[f"{view.set_name}/{'' if view.attempt is None else view.attempt}"] = part
        if missing:
            left_out.append(missing)
    entries = ",".join(f"{json.dumps(key)}:{part}" for key, part in parts.items())
    notes = [f"This report is held under {_size(max_bytes)}: {each}." for each in left_out]
    data = f'{{"first":{_json(wanted[0])},"notes":{_json(notes)},"views":{{{entries}}}}}'
    return Report(_file(info, data), left_out)


class _Room:
    """How many bytes are left in a file."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, text: str) -> bool:
        """Return whether a text still fits, and if so count it as written."""
        size = len(text.encode()) + 5 * text.count("<") + 1
        if size > self._left:
            return False
        self._left -= size
        return True


def _view(view: RunView, info: RunInfo, room: _Room) -> tuple[str | None, str | None]:
    """Return one set's (and attempt's) part of the data as JSON, and what is missing in it."""
    what = f"set '{view.set_name}'" + (f", attempt {view.attempt}" if view.attempt is not None else "")
    overview = view.overview(info)
    known = [*(each.name for each in overview.scores), *(n for n in MEASURED if n in overview.trends)]
    matrices = {name: dataclasses.asdict(view.matrix(name)) for name in known}
    numbers = f'"overview":{_json(dataclasses.asdict(overview))},"matrices":{_json(matrices)}'
    if not room.take(numbers):
        return None, f"{what} is left out"
    timelines: list[str] = []
    missing: list[int] = []
    for sample in overview.samples:
        found = _json(_compact(view.timeline(sample.sample_id)))
        text = f"{_json(sample.sample_id)}:{found}"
        if missing or not room.take(text):
            missing.append(sample.index)
        else:
            timelines.append(text)
    texts = f'"timelines":{{{",".join(timelines)}}}'
    return f"{{{numbers},{texts}}}", _missing(missing, len(overview.samples), what)


def _missing(indexes: Sequence[int], samples: int, what: str) -> str | None:
    if not indexes:
        return None
    places = f"{indexes[0]} to {indexes[-1]}" if len(indexes) > 1 else f"{indexes[0]}"
    return f"the texts of {len(indexes)} of the {samples} samples of {what} are left out, namely {places}"


def _compact(timeline: Timeline) -> dict[str, Any]:
    """Return a timeline without the columns in which an answer has nothing."""
    rounds = [each | {"answers": [_held(row) for row in each["answers"]]} for each in timeline.rounds]
    return {"sample": timeline.sample, "rounds": rounds}


def _held(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None and value != [] and value != {}}


def _file(info: RunInfo, data: str) -> str:
    return html_file(f"{info.name} · Timelapse", _ENTRY, _STYLES, {"data": data})


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _size(number: int) -> str:
    return f"{number / 1e6:g} MB"
