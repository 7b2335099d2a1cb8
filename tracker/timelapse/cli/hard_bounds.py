"""Bounds on the whole program while it runs somebody's SQL: what DuckDB bounds has gaps.

It does not count the memory that a function takes for one value, and cannot be interrupted within a row.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def ended_after(seconds: float, message: str) -> Iterator[None]:
    """End the program with a message and the exit code 2 if the block takes longer than some seconds."""
    timer = threading.Timer(seconds, _end, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def memory_bounded(more: int) -> Iterator[None]:
    """Let the program take so many bytes more than it has while the block runs, if Linux bounds it."""
    taken = Path("/proc/self/statm")
    if not taken.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = int(taken.read_text().split()[5]) * resource.getpagesize() + more
    bounds = [bound for bound in (most, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _end(message: str) -> None:
    click.echo(f"Error: {message}", err=True)
    os._exit(2)
