"""A run's artifacts: which there are, and their bytes, from the cache or from where MLflow keeps them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from timelapse import names
from timelapse.config.redact import without_credentials
from timelapse.fence import attempt
from timelapse.reading.downloads import DirectDownloads
from timelapse.reading.files import with_digest, with_size
from timelapse.reading.runs import ask
from timelapse.reading.threads import DOWNLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

    from timelapse.reading.ahead import FilesAhead
    from timelapse.reading.bounds import Budgets
    from timelapse.reading.cache import Cache

T = TypeVar("T")

COMPUTING = 2
"""How many threads compute at the same time: more would only hand Python's lock to and fro."""


class Shared(AbstractContextManager["Shared"]):
    """What several runs have in common: the way to their server, and samples, decoded once by their hash."""

    def __init__(self, tracking_uri: str) -> None:
        self.server = DirectDownloads(tracking_uri, DOWNLOADS)
        """Fetches what the tracking server hands out."""
        self.work = threading.Semaphore(COMPUTING)
        """Held while tables are decoded or arranged."""
        self._results: dict[str, Future[Any]] = {}
        self._guard = threading.Lock()

    def __exit__(self, *error: object) -> None:
        self.server.close()

    def once(self, sha256: str, call: Callable[[], T]) -> T:
        """Return the result of the first call for this hash; a failed one does not count."""
        with self._guard:
            is_first = sha256 not in self._results
            future = self._results.setdefault(sha256, Future())
        if not is_first:
            result: T = future.result()
            return result
        outcome, error = attempt(call)
        if error is None:
            future.set_result(outcome)
            return cast("T", outcome)
        with self._guard:
            del self._results[sha256]
        future.set_exception(error)
        raise error


class RunArtifacts:
    """The files in the folder `timelapse/` of one run, read with MLflow's client: see `RunFiles`."""

    budgets: Budgets | None = None
    """What may be decoded: whatever there is, the user's own process reads what the user names."""

    def __init__(self, client: MlflowClient, run: Run, cache: Cache, shared: Shared) -> None:
        self.tags: Mapping[str, str] = run.data.tags
        """The run's tags, as they were when the run was found."""
        self.shared = shared
        """What this run has in common with others."""
        self.run = run
        """The run, as it was found."""
        self._cache, self._tracking_uri = cache, client.tracking_uri
        self._coming: dict[str, Callable[[], bytes]] = {}

    def expect(self, file: str, sha256: str, ahead: FilesAhead) -> None:
        """Begin to fetch a file with this SHA-256, unless the cache has it: `verified` waits for it."""
        if self._is_cached and not self._cache.has(sha256):
            self._coming[sha256] = ahead.expect(partial(self._fetched, file, sha256))

    def forget(self) -> None:
        """Drop what was fetched and not wanted after all, so that there is room for others."""
        for take in self._coming.values():
            attempt(take)
        self._coming.clear()

    def sizes(self) -> dict[str, int | None]:
        """Ask which files there are; return their sizes in bytes (None if the store does not say).

        Raises:
            RunError: MLflow does not answer, or refuses.
        """
        listed = ask(self._tracking_uri, lambda: self._store.list_artifacts(names.ARTIFACT_FOLDER))
        return {PurePosixPath(item.path).name: item.file_size for item in listed if not item.is_dir}

    def current(self, file: str) -> bytes:
        """Return a file as it is now: for those that are written over."""
        path = f"{names.ARTIFACT_FOLDER}/{file}"
        if (local := self._store.get_local_path(path)) is not None:
            return Path(local).read_bytes()
        if (content := self.shared.server.get(self._store, path)) is not None:
            return content
        return self._downloaded(path)

    def _downloaded(self, path: str) -> bytes:
        """Return a file as MLflow fetches it, with its own retries and errors."""
        handle, aside = tempfile.mkstemp(prefix="timelapse-")
        os.close(handle)
        try:
            # The public `download_artifacts` asks for a listing before each file, and takes threads of its
            # own; this is the method that every artifact store of MLflow's implements.
            self._store._download_file(path, aside)  # type: ignore[no-untyped-call]
            return Path(aside).read_bytes()
        finally:
            Path(aside).unlink(missing_ok=True)

    def verified(self, file: str, sha256: str, decode: Callable[[bytes], T]) -> T:
        """Return a file, decoded, whose content has this SHA-256 (64 hexadecimal digits); cached by it.

        Raises:
            ValueError: The file has other content now.
        """

        def fetch() -> bytes:
            take = self._coming.pop(sha256, None)
            return take() if take else self._fetched(file, sha256)

        return self._cached(sha256, fetch, decode)

    def _fetched(self, file: str, sha256: str) -> bytes:
        return with_digest(self.current(file), sha256)

    def immutable(self, file: str, size: int | None, decode: Callable[[bytes], T]) -> T:
        """Return a file, decoded, that is never written over; cached by its run, name and size.

        Raises:
            ValueError: What came has another size than the listing said.
        """

        def fetch() -> bytes:
            return with_size(self.current(file), size)

        if size is None:
            return decode(fetch())
        place = [without_credentials(self._tracking_uri), self.run.info.run_id, file, size]
        return self._cached(hashlib.sha256(json.dumps(place).encode()).hexdigest(), fetch, decode)

    def once(self, sha256: str, call: Callable[[], T]) -> T:
        """Return the result of the first call for this hash, among all runs that are read together."""
        return self.shared.once(sha256, call)

    def _cached(self, key: str, fetch: Callable[[], bytes], decode: Callable[[bytes], T]) -> T:
        """Decode what the cache has, else what is fetched, which is cached only if it can be decoded."""
        if not self._is_cached:
            return decode(fetch())
        content = self._cache.get(key)
        is_new = content is None
        if content is None:
            content = fetch()
        with self.shared.work:
            decoded = decode(content)
        if is_new:
            self._cache.put(key, content)
        return decoded

    @cached_property
    def _is_cached(self) -> bool:
        """Whether files are cached: there is nothing to gain from a copy of what lies on this machine."""
        return urlsplit(self.run.info.artifact_uri or "").scheme not in ("", "file")

    @cached_property
    def _store(self) -> ArtifactRepository:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.utils.uri import add_databricks_profile_info_to_artifact_uri

        place = add_databricks_profile_info_to_artifact_uri(  # type: ignore[no-untyped-call]
            self.run.info.artifact_uri, self._tracking_uri
        )
        return get_artifact_repository(place, tracking_uri=self._tracking_uri)
