"""Keeping our hands off the global random generators, which belong to the training."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Restore the global generators of `random` and, if it is loaded, numpy afterwards.

    MLflow draws from `random` for run names, and urllib3 for the jitter of a failing request.
    """
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
