"""What a check finds: problems and notes, collected instead of stopping at the first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from timelapse.config.model import Config, Section
from timelapse.config.problems import Problem, problems_of
from timelapse.errors import ConfigError, SampleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from timelapse.config.file import FieldPath, Reading
    from timelapse.samples import LoadReport

S = TypeVar("S", bound=Section)
T = TypeVar("T")


@dataclass
class Findings:
    """What is wrong with a configuration, and what is worth knowing."""

    reading: Reading
    """The configuration as it was read."""
    problems: list[Problem] = field(default_factory=list)
    """What is wrong."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, one sentence each."""

    def attempt(self, call: Callable[[], T], path: FieldPath = ()) -> T | None:
        """Return a result, or None if it is an error of ours, which is then a problem of this field."""
        try:
            return call()
        except (ConfigError, SampleError) as error:
            found = problems_of(error, Config.model_fields)
            self.problems += [each if each.path else Problem(path, each.text) for each in found]
            return None

    def section(self, model: type[S], name: str) -> S | None:
        """Return a section, of a configuration that is wrong without the fields that are; they are known."""
        if self.reading.config is not None:
            section: S = getattr(self.reading.config, name)
            return section
        raw = self.reading.data.get(name) or {}
        wrong = {path[1] for path in self._wrong() if path[0] == name and len(path) > 1}
        if "step_interval" in wrong:  # perhaps for want of one, which this field asks for
            wrong.add("sample_frequency")
        try:
            return model.model_validate({key: raw[key] for key in raw if key not in wrong})
        except (ValidationError, TypeError):
            return None

    def knows(self, *path: str) -> bool:
        """Return whether nothing is wrong with a field, so that conclusions may be drawn from it."""
        return path not in {wrong[: len(path)] for wrong in self._wrong()}

    def _wrong(self) -> list[FieldPath]:
        return [problem.path for problem in self.problems if problem.path]

    def report(self, name: str, report: LoadReport | None) -> None:
        """Note the rows of a file that cannot be used."""
        if report is not None and report.skipped:
            self.notes.append(f"{name}: {report}.")
