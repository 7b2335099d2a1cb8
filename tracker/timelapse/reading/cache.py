"""A local cache of files that never change: what was read once is not fetched again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
from pathlib import Path

from platformdirs import user_cache_path

from timelapse.errors import ConfigError
from timelapse.fence import warn

DEFAULT_MB = 1024
"""Most megabytes that the cache holds, unless `TIMELAPSE_CACHE_MB` says otherwise."""

_DIGEST_BYTES = 32
_ASIDE_SECONDS = 3600


def cache_root() -> Path:
    """Return the folder of the cache: `$TIMELAPSE_CACHE`, else the user's cache folder."""
    configured = os.environ.get("TIMELAPSE_CACHE")
    return Path(configured) if configured else user_cache_path("timelapse")


def cache_limit() -> int:
    """Return how many bytes the cache may hold: `$TIMELAPSE_CACHE_MB` megabytes; 0 turns it off.

    Raises:
        ConfigError: The variable is no number from 0.
    """
    value = os.environ.get("TIMELAPSE_CACHE_MB", str(DEFAULT_MB))
    if not value.strip().isdecimal():
        raise ConfigError(
            f"TIMELAPSE_CACHE_MB={value!r} is no whole number of megabytes. Give one from 0 (no cache), or "
            f"unset it for {DEFAULT_MB}."
        )
    return int(value) * 1_000_000


class Cache:
    """Files by key, in a folder of the user's own; several threads and processes may use it at once.

    A file appears whole or not at all (written aside, renamed). Each begins with the SHA-256 of its content:
    a damaged one is found, removed and counts as missing, and so does one that another process removed.
    Those used least recently go first when the folder outgrows `limit` bytes. A cache that cannot be
    written holds nothing; reading goes on.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._added = 0
        self._guard = threading.Lock()

    @classmethod
    def open(cls) -> Cache:
        """Return the user's cache, as the environment says; off if its folder is open to other users."""
        folder, limit = cache_root() / "artifacts", cache_limit()
        if limit:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.exists() and not _is_private(folder):
                warn(
                    f"The cache folder {folder} is a link, or open to other users; it is not used. Make it "
                    f"private (chmod 700 {folder}), or set TIMELAPSE_CACHE to another place."
                )
                limit = 0
        return cls(folder, limit)

    def has(self, key: str) -> bool:
        """Return whether there is something under a key; whether it is whole, `get` will see."""
        return self.limit > 0 and (self.folder / key).exists()

    def get(self, key: str) -> bytes | None:
        """Return the content under a key, or None if there is none that is whole."""
        if not self.limit:
            return None
        path = self.folder / key
        try:
            with path.open("rb", buffering=0) as file:  # unbuffered: the content is not copied
                digest, content = file.read(_DIGEST_BYTES), file.readall()
            if hashlib.sha256(content).digest() != digest:
                path.unlink()
                return None
            os.utime(path)
        except OSError:  # never stored, or gone since
            return None
        return content

    def put(self, key: str, content: bytes) -> None:
        """Store content under a key: at most 255 bytes that make a file name."""
        if len(content) + _DIGEST_BYTES > self.limit:
            return
        with contextlib.suppress(OSError):  # a full disk must not end the reading
            self._write(key, hashlib.sha256(content).digest(), content)
            with self._guard:
                self._added += len(content)
                full = self._added > self.limit // 8
            if full:
                self.trim()

    def _write(self, key: str, digest: bytes, content: bytes) -> None:
        handle, aside = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)  # private: mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(digest)
                file.write(content)
            Path(aside).replace(self.folder / key)
        finally:
            Path(aside).unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove what was used least recently until the limit holds, and what killed processes left."""
        with self._guard:
            self._added = 0
        files = sorted(_files(self.folder), reverse=True)  # the newest first
        total = 0
        for used, size, path in files:
            total += size
            abandoned = path.suffix == ".part" and used < time.time() - _ASIDE_SECONDS
            if abandoned or (total > self.limit and path.suffix != ".part"):
                with contextlib.suppress(OSError):
                    path.unlink()

    def close(self) -> None:
        """Bring the folder back to its limit, if this cache added anything."""
        if self._added:
            self.trim()


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """Return the time of last use, the size and the path of every file there."""
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # another process removed it
                state = entry.stat(follow_symlinks=False)
                found.append((state.st_mtime, state.st_size, Path(entry.path)))
    return found


def _is_private(folder: Path) -> bool:
    state = folder.lstat()
    owned = not hasattr(os, "getuid") or state.st_uid == os.getuid()
    return stat.S_ISDIR(state.st_mode) and owned and not state.st_mode & 0o077
