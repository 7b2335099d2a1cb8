"""What the tag of a run at rest says: which bytes its files have, so that readers need not ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_DIGEST = "[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class RestingFiles:
    """The SHA-256 (64 hexadecimal digits each) of the files that a run at rest is read from.

    As text, the value of the tag `timelapse.manifest`: `<manifest>,<samples>,<rounds>`, or the manifest's
    alone where a run lacks one of the others; the manifest then says what there is.
    """

    manifest: str
    """Of `manifest.json`."""
    samples: str | None = None
    """Of `samples.parquet`; None where the tag does not say it."""
    rounds: str | None = None
    """Of `rounds.parquet`; None where the tag does not say it."""

    @classmethod
    def parse(cls, tag: str) -> Self | None:
        """Return what a tag says; None for anything else, such as `live` while somebody writes to the run."""
        if not re.fullmatch(f"{_DIGEST}(,{_DIGEST},{_DIGEST})?", tag):
            return None
        return cls(*tag.split(","))

    def __str__(self) -> str:
        if self.samples is None or self.rounds is None:
            return self.manifest
        return f"{self.manifest},{self.samples},{self.rounds}"


def listed_digest(manifest: Mapping[str, object], file: str) -> str | None:
    """Return the SHA-256 that a manifest lists for a file; None if it lists none, or no digest."""
    files = manifest.get("files")
    entry = files.get(file) if isinstance(files, dict) else None
    sha256 = entry.get("sha256") if isinstance(entry, dict) else None
    return sha256 if isinstance(sha256, str) and re.fullmatch(_DIGEST, sha256) else None
