"""Samples from any source: the format is detected, bad rows are skipped and reported, nothing is guessed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from timelapse.errors import SampleError
from timelapse.formats.adapters import FORMATS, Format
from timelapse.formats.fields import FieldMapping
from timelapse.formats.sources import Row, Source, describe, is_file, locate, read_rows
from timelapse.formats.turns import RowError, is_blank, parse_tools, without_none
from timelapse.hints import nearest
from timelapse.names import DEFAULT_SET
from timelapse.samples import LoadReport, Sample, SampleSet, SkippedRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_DETECTED_ROWS = 100
_QUOTED_REASONS = 3


def load_samples(
    source: Source,
    *,
    format: str | None = None,  # noqa: A002 - the word that users know
    fields: FieldMapping | Mapping[str, Any] | None = None,
    name: str = DEFAULT_SET,
    tools: Sequence[Mapping[str, Any]] | None = None,
    limit: int | None = None,
) -> SampleSet:
    """Read a sample set from a file or from rows in memory.

    Rows that are no usable sample, and rows that repeat an earlier input, are left out; `report` of the
    result lists each with its place and reason.

    Args:
        source: A file (.json, .jsonl, .ndjson, .csv, .tsv, also with .gz; .parquet), a list of dicts, a
            pandas DataFrame, a `datasets.Dataset`, or samples.
        format: Name of a known format; detected if not given.
        fields: Which column is what, for rows of no known format; takes the place of `format`.
        name: Name of the set.
        tools: Tool descriptions for chats that bring none of their own.
        limit: The most samples that the set may have.

    Raises:
        SampleError: If the source cannot be read, its format is not known, no row of it is usable, or it
            holds more samples than `limit`.
    """
    loaded = _without_repeats(_load(source, format, fields, tools))
    samples = loaded.samples
    if limit is not None and len(samples) > limit:
        shorten = "Shorten the file" if is_file(source) else "Pass fewer"
        raise SampleError(
            f"{loaded.source} holds {len(samples)} samples, more than the limit of {limit}. "
            f"{shorten}, or set PREDICTIONS_MAX_SAMPLE_COUNT to allow more."
        )
    return SampleSet(tuple(samples), name, loaded.report)


def read_examples(
    source: Source,
    *,
    format: str | None = None,  # noqa: A002 - the word that users know
    fields: FieldMapping | Mapping[str, Any] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[list[Sample], LoadReport]:
    """Read training examples: like `load_samples`, but repeated inputs are kept and there is no limit.

    Raises:
        SampleError: If the source cannot be read, its format is not known, or no row of it is usable.
    """
    loaded = _load(source, format, fields, tools)
    return loaded.samples, loaded.report


@dataclass(frozen=True, slots=True)
class _Loaded:
    source: str
    format: str
    outcomes: list[tuple[str, Sample | SkippedRow]]

    @property
    def samples(self) -> list[Sample]:
        return [outcome for _, outcome in self.outcomes if isinstance(outcome, Sample)]

    @property
    def report(self) -> LoadReport:
        skipped = tuple(outcome for _, outcome in self.outcomes if isinstance(outcome, SkippedRow))
        return LoadReport(self.source, self.format, len(self.outcomes), skipped)


def _load(
    source: Source,
    format_name: str | None,
    fields: FieldMapping | Mapping[str, Any] | None,
    tools: Sequence[Mapping[str, Any]] | None,
) -> _Loaded:
    if format_name is not None and fields is not None:
        raise SampleError("Both a format and a field mapping are given. Name one of them.")
    defaults = _default_tools(tools)
    if isinstance(source, list | tuple | SampleSet) and any(isinstance(item, Sample) for item in source):
        outcomes = [_checked(f"item {number}", item, defaults) for number, item in enumerate(source, 1)]
        loaded = _Loaded(describe(source), "samples", outcomes)
    else:
        loaded = _from_rows(source, format_name, fields, defaults)
    if not loaded.samples:
        raise _none_usable(loaded)
    return loaded


def _from_rows(
    source: Source,
    format_name: str | None,
    fields: FieldMapping | Mapping[str, Any] | None,
    tools: tuple[Mapping[str, Any], ...],
) -> _Loaded:
    label, rows = describe(source), read_rows(source)
    readable = [row.fields for row in rows if isinstance(row, Row)]
    if not readable:
        raise _none_usable(
            _Loaded(label, "unknown", [(row.place, row) for row in cast("list[SkippedRow]", rows)])
        )
    convert: Callable[[Mapping[str, Any]], Sample]
    if fields is not None:
        mapping = fields if isinstance(fields, FieldMapping) else FieldMapping.from_dict(fields)
        mapping.check_columns(readable, label)
        name, convert = "fields", mapping.convert
    else:
        chosen = _named(format_name) if format_name is not None else _detect(readable, label)
        name, convert = chosen.name, chosen.convert
    return _Loaded(label, name, [(row.place, _converted(row, convert, source, tools)) for row in rows])


def _converted(
    row: Row | SkippedRow,
    convert: Callable[[Mapping[str, Any]], Sample],
    source: Source,
    tools: tuple[Mapping[str, Any], ...],
) -> Sample | SkippedRow:
    if isinstance(row, SkippedRow):
        return row
    try:
        sample = convert(
            {name: without_none(cell) if name in row.filled else cell for name, cell in row.fields.items()}
        )
    except RowError as error:
        return SkippedRow(row.place, str(error))
    kept = {name: row.fields.get(name, value) for name, value in sample.metadata.items()}
    sample = replace(sample, metadata=kept)
    return replace(_with_tools(sample, tools), source=locate(source, row.place))


def _checked(place: str, item: Any, tools: tuple[Mapping[str, Any], ...]) -> tuple[str, Sample | SkippedRow]:
    if not isinstance(item, Sample):
        return place, SkippedRow(place, f"not a Sample but a value of type {type(item).__name__}")
    if is_blank(item):
        return place, SkippedRow(place, "the prompt is empty")
    sample = _with_tools(item, tools)
    return place, sample if sample.source is not None else replace(sample, source=place)


def _with_tools(sample: Sample, tools: tuple[Mapping[str, Any], ...]) -> Sample:
    # A plain text prompt sees no template, so no tools either.
    return replace(sample, tools=tools) if tools and sample.conversational and not sample.tools else sample


def _default_tools(tools: Sequence[Mapping[str, Any]] | None) -> tuple[Mapping[str, Any], ...]:
    try:
        return parse_tools(tools)
    except RowError as error:
        raise SampleError(f"The default tools cannot be used: {error}.") from error


def _without_repeats(loaded: _Loaded) -> _Loaded:
    first: dict[str, str] = {}
    outcomes: list[tuple[str, Sample | SkippedRow]] = []
    for place, outcome in loaded.outcomes:
        if isinstance(outcome, Sample) and first.setdefault(outcome.sample_id, place) != place:
            outcomes.append((place, SkippedRow(place, f"same input as {first[outcome.sample_id]}")))
        else:
            outcomes.append((place, outcome))
    return replace(loaded, outcomes=outcomes)


def _named(name: str) -> Format:
    for known in FORMATS:
        if known.name == name:
            return known
    names = [known.name for known in FORMATS]
    raise SampleError(f"The format '{name}' is not known.{nearest(name, names)} Known: {', '.join(names)}.")


def _detect(rows: Sequence[Mapping[str, Any]], source: str) -> Format:
    """Return the format to which most of the first rows belong; each row belongs to one format."""
    matches = ([known for known in FORMATS if known.matches(row)] for row in islice(rows, _DETECTED_ROWS))
    votes = Counter(known[0].name for known in matches if known)
    if not votes:
        raise _unknown_format(rows, source)
    # Rows that lack their answer look like bare prompts; as long as any row has one, they are incomplete.
    candidates = [known for known in FORMATS[:-1] if votes[known.name]] or [FORMATS[-1]]
    return max(candidates, key=lambda known: votes[known.name])


def _unknown_format(rows: Sequence[Mapping[str, Any]], source: str) -> SampleError:
    seen = sorted({name for row in islice(rows, _DETECTED_ROWS) for name in row})
    shown = ", ".join(name if len(name) <= 60 else f"{name[:60]}…" for name in seen) or "none"
    header = (
        " The first line of such a file must name the columns."
        if ".csv" in source or ".tsv" in source
        else ""
    )
    return SampleError(
        f"{source} is of no known format. Fields seen: {shown}.{header} "
        f"Known formats: {'; '.join(map(str, FORMATS))}. Rename the fields, or say which is what "
        'with a field mapping: fields={"prompt": "…", "reference": "…"}.'
    )


def _none_usable(loaded: _Loaded) -> SampleError:
    skipped = loaded.report.skipped
    reasons = "; ".join(f"{row.place}: {row.reason}" for row in skipped[:_QUOTED_REASONS])
    more = f"; and {len(skipped) - _QUOTED_REASONS} more" if len(skipped) > _QUOTED_REASONS else ""
    return SampleError(
        f"{loaded.source} holds no usable sample (rows: {len(skipped)}, format: {loaded.format}). "
        f"{reasons}{more}. Mend the rows, or say which column is what with a field mapping."
    )
