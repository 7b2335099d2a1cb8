"""Where Arrow takes memory from while predictions are read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_guard = threading.Lock()
_readers = 0
_before: pa.MemoryPool | None = None


@contextmanager
def system_memory() -> Iterator[None]:
    """Let Arrow allocate from the C library while the block runs, unless `ARROW_DEFAULT_MEMORY_POOL` is set.

    Arrow's own allocator (mimalloc) asks Linux for huge pages, which the kernel has to find and clear: half
    of the time of the first reading in a process. The pool is Arrow's setting for the whole process; the last
    of several threads that read puts the former one back. Tables outlive the block: each frees to its own.
    """
    global _readers, _before
    import pyarrow as pa

    if "ARROW_DEFAULT_MEMORY_POOL" in os.environ:
        yield
        return
    with _guard:
        if _readers == 0:
            _before = pa.default_memory_pool()
            pa.set_memory_pool(pa.system_memory_pool())
        _readers += 1
    try:
        yield
    finally:
        with _guard:
            _readers -= 1
            if _readers == 0:
                pa.set_memory_pool(_before)
