"""Where a run's files are read from: what every source of them offers to the loader."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from timelapse.reading.bounds import Budgets

T = TypeVar("T")


def with_digest(content: bytes, sha256: str) -> bytes:
    """Return content that has this SHA-256 (64 hexadecimal digits).

    Raises:
        ValueError: It has another.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("its content is not what the manifest says (SHA-256 differs)")
    return content


def with_size(content: bytes, size: int | None) -> bytes:
    """Return content that has this many bytes, if that is known.

    Raises:
        ValueError: It has more or fewer.
    """
    if size is not None and len(content) != size:
        raise ValueError(f"it has {len(content)} bytes, and should have {size}")
    return content


class RunFiles(Protocol):
    """The files in the folder `timelapse/` of one run.

    `RunArtifacts` reads them with MLflow's client; the server plugin through MLflow's own app, as the caller.
    """

    @property
    def tags(self) -> Mapping[str, str]:
        """The run's tags, as they were when the run was found."""
        ...  # pragma: no cover

    @property
    def budgets(self) -> Budgets | None:
        """How much may be decoded; None: whatever there is."""
        ...  # pragma: no cover

    def sizes(self) -> dict[str, int | None]:
        """Ask which files there are; return their sizes in bytes (None if the store does not say)."""
        ...  # pragma: no cover

    def current(self, file: str) -> bytes:
        """Return a file as it is now: for those that are written over."""
        ...  # pragma: no cover

    def verified(self, file: str, sha256: str, decode: Callable[[bytes], T]) -> T:
        """Return a file, decoded, whose content has this SHA-256.

        Raises:
            ValueError: The file has other content now.
        """
        ...  # pragma: no cover

    def immutable(self, file: str, size: int | None, decode: Callable[[bytes], T]) -> T:
        """Return a file, decoded, that is never written over.

        Raises:
            ValueError: What came has another size than the listing said.
        """
        ...  # pragma: no cover

    def once(self, sha256: str, call: Callable[[], T]) -> T:
        """Return the result of the first call for this hash, where several runs share files."""
        ...  # pragma: no cover
