"""The manifest: what a run holds, and under which conditions it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timelapse import names
from timelapse.analysis.learning import Right
from timelapse.samples import set_fingerprint


def new_manifest() -> dict[str, Any]:
    """Return the manifest of a run that holds nothing yet."""
    return {"schema": names.SCHEMA_VERSION, "sample_sets": {}}


def with_conditions(
    manifest: Mapping[str, Any], about: Mapping[str, Any], right: Right | None
) -> dict[str, Any]:
    """Return the manifest with the decoding, chat template and packages that go with a sample set.

    And with the score that says which answers are right, and from which value on, if there is one. Of several
    sets, `decoding` is that of the main one; each set's own stands under `decoding_of_sets`.
    """
    known = {"decoding": {}, "chat_template": None, "packages": {}} | dict(manifest)
    kept = {key: about[key] for key in ("decoding", "chat_template", "packages") if about.get(key)}
    if kept.get("decoding"):
        of_sets = {**known.get("decoding_of_sets", {}), about["set"]: kept["decoding"]}
        kept |= {"decoding_of_sets": of_sets, "decoding": of_sets.get(names.DEFAULT_SET, kept["decoding"])}
    return known | kept | ({"right": right._asdict()} if right else {})


def with_fingerprints(manifest: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the manifest with the fingerprint and size of each sample set."""
    sets: dict[str, list[tuple[str, str | None]]] = {}
    for row in samples:
        sets.setdefault(row["set"], []).append((row["sample_id"], row["reference"]))
    found = {
        name: {"fingerprint": set_fingerprint(pairs), "count": len(pairs)} for name, pairs in sets.items()
    }
    return dict(manifest) | {"sample_sets": found}


def with_files(manifest: Mapping[str, Any], files: Iterable[Path], covered: Iterable[Path]) -> dict[str, Any]:
    """Return the manifest with the hashes of files, and of the rounds that `rounds.parquet` covers."""
    return dict(manifest) | {
        "files": {file.name: _fingerprint(file) for file in files},
        "covers": {file.name: _fingerprint(file) for file in sorted(covered)},
    }


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """Return the manifest as it is stored."""
    return json.dumps(manifest, indent=1, default=str).encode()


def _fingerprint(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
