"""What a worker keeps in memory, bounded in bytes."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from timelapse.errors import ConfigError

VARIABLE = "TIMELAPSE_SERVER_CACHE_MB"
DEFAULT_MB = 256
"""Megabytes that a worker keeps, unless `TIMELAPSE_SERVER_CACHE_MB` says otherwise."""


def memory_limit() -> int:
    """Return how many bytes a worker may keep.

    Raises:
        ConfigError: The variable is no number from 0.
    """
    value = os.environ.get(VARIABLE, str(DEFAULT_MB))
    if not value.strip().isdecimal():
        raise ConfigError(
            f"{VARIABLE}={value!r} is no whole number of megabytes. Give one from 0 (keep nothing), or unset "
            f"it for {DEFAULT_MB}."
        )
    return int(value) * 1_000_000


class Memory:
    """Values by key; those used least recently go when together they outgrow `limit` bytes.

    Nothing in it may be given to anybody before they were authorised for the run that it belongs to: keys
    begin with the run's id and what its content is, and never hold a user.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """Return a value, or None if it is not kept."""
        with self._guard:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes, unless it alone is more than all may be."""
        size += 500  # the key, and what surrounds it
        with self._guard:
            self._drop(key)
            if size > self.limit:
                return
            self._kept[key] = (value, size)
            self.size += size
            while self.size > self.limit:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        _value, size = self._kept.pop(key, (None, 0))
        self.size -= size
