"""Checks of the folders on this machine: the spool, where rounds wait, and the cache of what was read."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from timelapse.diagnosis.finding import Finding
from timelapse.fence import attempt, describe
from timelapse.reading.cache import cache_limit, cache_root
from timelapse.writing.spool import spool_folders, spool_limit, spool_root

SLOW_WRITE_MS = 50.0
"""A durable write that takes longer than this is felt in the training: it happens once a round."""
LITTLE_DISK_BYTES = 1e9

_WRITES = 5


def check_spool() -> list[Finding]:
    """Return findings on the spool's folder, its disk, and the runs that wait there."""
    root = spool_root()
    waiting, error = attempt(lambda: _usable(root))
    if error is not None:
        advice = "Set TIMELAPSE_SPOOL to a folder of your own on a local disk."
        return [
            Finding("spool", "failed", f"{root} cannot be used: {describe(error)}", advice),
            Finding("disk", "skipped", "there is no spool"),
            Finding("waiting runs", "skipped", "there is no spool"),
        ]
    return [_check_writing(root), _check_disk(root), _check_waiting(waiting or [])]


def check_cache() -> Finding:
    """Return a finding on the read cache; without one, reading goes on and is slower."""
    root = cache_root() / "artifacts"
    limit, error = attempt(cache_limit)
    if error is not None or limit is None:
        return Finding("read cache", "failed", str(error), "Set TIMELAPSE_CACHE_MB right, or unset it.")
    if limit == 0:
        return Finding("read cache", "ok", "off: TIMELAPSE_CACHE_MB is 0")
    _, error = attempt(lambda: _durable_write_ms(root))
    if error is not None:
        advice = "Set TIMELAPSE_CACHE to a folder of your own; until then everything is fetched each time."
        return Finding("read cache", "warning", f"{root} cannot be written: {describe(error)}", advice)
    held = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return Finding("read cache", "ok", f"{root}: {size(held)} of at most {size(limit)}")


def size(count: float) -> str:
    """Return a number of bytes in a unit for people: `1.5 GB`, `20 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _usable(root: Path) -> list[Path]:
    """Return the run folders in the spool, which is made if need be, or raise why it cannot be used."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _durable_write_ms(root)
    return list(spool_folders())


def _check_writing(root: Path) -> Finding:
    taken = statistics.median(_durable_write_ms(root) for _ in range(_WRITES))
    found = f"{root}: private, a durable write takes {taken:.1f} ms"
    if os.name == "posix" and root.stat().st_mode & 0o077:
        return Finding(
            "spool", "warning", f"{root}: others may look into it", f"Keep it private: chmod 700 {root}"
        )
    if taken > SLOW_WRITE_MS:
        return Finding("spool", "warning", found, "Set TIMELAPSE_SPOOL to a folder on a local disk.")
    return Finding("spool", "ok", found)


def _check_disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    limit, error = attempt(spool_limit)
    if error is not None or limit is None:
        return Finding("disk", "failed", str(error), "Set TIMELAPSE_SPOOL_MB right, or unset it.")
    found = f"{size(free)} free; the spool takes at most {size(limit)}"
    if free < LITTLE_DISK_BYTES:
        advice = "Make room: rounds that cannot be kept on disk are lost if the training is killed."
        return Finding("disk", "warning", found, advice)
    return Finding("disk", "ok", found)


def _check_waiting(folders: list[Path]) -> Finding:
    if not folders:
        return Finding("waiting runs", "ok", "none")
    count = f"{len(folders)} run{'s' * (len(folders) != 1)}"
    advice = "Those of trainings that still go on are sent by them; send the others with: timelapse sync"
    return Finding("waiting runs", "warning", f"{count}, the oldest since {_since(folders)}", advice)


def _since(folders: list[Path]) -> str:
    oldest = min(folder.lstat().st_mtime for folder in folders)
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(oldest))


def _durable_write_ms(root: Path) -> float:
    """Return how long it takes to write a small file as the spool does: aside, synced, renamed."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    start = time.perf_counter()
    handle, name = tempfile.mkstemp(prefix=".doctor-", dir=root)
    try:
        os.write(handle, bytes(4096))
        os.fsync(handle)
    finally:
        os.close(handle)
    final = Path(name).rename(f"{name}-done")
    taken = time.perf_counter() - start
    final.unlink()
    return 1000 * taken
