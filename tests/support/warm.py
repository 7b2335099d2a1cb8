"""What makes a template that forks programs a warm one.

Importing MLflow takes seconds, and what a fork imports for itself is imported again in each.
"""

from __future__ import annotations

import gc
from importlib import import_module

NEEDED = (
    "alembic.command",
    "filelock",
    "git",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "rapidfuzz.fuzz",
    "rapidfuzz.process",
    "sqlalchemy.dialects.sqlite",
    "timelapse.analysis.deciding",
    "timelapse.config.file",
    "timelapse.reading.loader",
    "timelapse.report.report",
    "timelapse.writing.artifacts",
    "timelapse.writing.recorder",
)
"""What a program that logs rounds imports on its way."""


def warm_up() -> None:
    """Import what programs need, and make their end cheap; the last word before the first fork."""
    collect_seldom()
    for module in NEEDED:
        import_module(module)
    leave_imports_alone()


def collect_seldom() -> None:
    """Look for garbage after 50,000 new objects instead of 700: it takes a tenth of the time of the tests."""
    gc.set_threshold(50_000, 20, 50)


def leave_imports_alone() -> None:
    """Keep what is imported so far out of each collection of garbage, of which each training and each end
    of a process makes one: walking through torch and MLflow takes a second.
    """
    gc.collect()
    gc.freeze()
