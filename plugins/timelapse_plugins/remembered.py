"""Answers of MLflow that are remembered for seconds, each for one caller alone."""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from timelapse_plugins.inner import Caller

T = TypeVar("T")

MAX_ENTRIES = 2_000
"""Answers that are remembered at a time; the oldest are forgotten."""
MAX_BYTES = 8 << 20
"""Bytes that these had together as JSON; as objects they take some ten times as much."""

# What a browser or a proxy adds and no user is known by. Any other header may carry an identity.
_SAYS_NOT_WHO = frozenset(
    b"accept accept-language cache-control pragma user-agent referer priority dnt sec-gpc purpose "
    b"upgrade-insecure-requests x-request-id x-amzn-trace-id traceparent tracestate".split()
)
_BROWSER_SAYS = (b"sec-fetch-", b"sec-ch-")


class Identity:
    """Turns callers into keys that tell nothing about them, under a secret of this process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def key(self, caller: Caller, *question: str) -> bytes:
        """Return the key of what a caller asks: another for each identity, workspace, address and host."""
        told = [(name.lower(), value) for name, value in caller.headers if _may_say_who(name.lower())]
        address = caller.client[0] if caller.client else ""
        parts = [*(part for pair in told for part in pair), address.encode(), caller.scheme.encode()]
        parts += [part.encode() for part in question]
        # Each part with its length: no two lists of parts read alike.
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.new(self._secret, message, hashlib.sha256).digest()


class Remembered(Generic[T]):
    """A bounded number of values, each for some seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._entries: OrderedDict[bytes, tuple[float, T, int]] = OrderedDict()
        self._size = 0

    def get(self, key: bytes) -> T | None:
        """Return what is remembered under a key, None if it is nothing or too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() >= entry[0]:
            self.drop(key)
            return None
        return entry[1]

    def put(self, key: bytes, value: T, at_most: float = math.inf, size: int = 0) -> None:
        """Remember a value of `size` bytes from now on, for `at_most` so many seconds."""
        if self._seconds <= 0:
            return
        self.drop(key)
        self._entries[key] = (self._clock() + min(self._seconds, at_most), value, size)
        self._size += size
        while len(self._entries) > MAX_ENTRIES or self._size > MAX_BYTES:
            self.drop(next(iter(self._entries)))

    def drop(self, key: bytes) -> None:
        """Forget what is remembered under a key."""
        entry = self._entries.pop(key, None)
        self._size -= entry[2] if entry else 0

    def __len__(self) -> int:
        return len(self._entries)


def _may_say_who(name: bytes) -> bool:
    return name not in _SAYS_NOT_WHO and not name.startswith(_BROWSER_SAYS)
