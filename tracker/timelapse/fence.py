"""The one gate between our failures and the training: the only place with a broad `except`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from timelapse.config.known_secrets import hide_secrets
from timelapse.errors import TimelapseWarning

logger = logging.getLogger("timelapse")

T = TypeVar("T")

# What ends a program on purpose. A panic in native code (a tokenizer's) is a BaseException, too, and is ours.
_THE_USERS = (KeyboardInterrupt, SystemExit, GeneratorExit)


class Fence:
    """Keeps an observer's failures away from what it observes, and says each of them once.

    A failure becomes one `TimelapseWarning`; the same activity failing again is only counted.
    `KeyboardInterrupt` and `SystemExit` pass: they are the user's.

    Args:
        said: Activities of which somebody else says that they fail: they are only counted.
    """

    def __init__(self, said: Iterable[str] = ()) -> None:
        self.failures: list[str] = []
        """Every failure so far, as `activity: ErrorType: message`."""
        self._said = set(said)

    @contextmanager
    def guard(self, activity: str, consequence: str) -> Iterator[None]:
        """Run a block; if it fails, warn with what failed, why, and what happens now (`consequence`)."""
        try:
            yield
        except _THE_USERS:
            raise
        except BaseException as error:
            logger.debug("%s failed", activity, exc_info=error)
            self.report(activity, describe(error), consequence)

    def report(self, activity: str, reason: str, consequence: str) -> None:
        """Record a failure that was caught elsewhere, and warn unless this activity has failed before."""
        self.failures.append(f"{activity}: {reason}")
        if activity not in self._said:
            self._said.add(activity)
            warn(f"{activity[0].upper()}{activity[1:]} failed: {reason.removesuffix('.')}. {consequence}")


def attempt(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return `(result, None)`, or `(None, error)` if the call failed: for work whose failure becomes data."""
    try:
        return call(), None
    except _THE_USERS:
        raise
    except BaseException as error:  # noqa: BLE001 - the gate
        return None, error


def warn(message: str) -> None:
    """Issue a `TimelapseWarning` that cannot raise, even where the user turned warnings into errors."""
    try:
        warnings.warn(message, TimelapseWarning, stacklevel=3)
    except TimelapseWarning:
        logger.warning(message)


def describe(error: BaseException) -> str:
    """Return an error as one line without secrets: `ErrorType: message`, cut at 500 characters."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error that cannot say what it is
        text = ""
    words = " ".join(hide_secrets(text).split())
    message = "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)
    return f"{type(error).__name__}: {message[:500]}" if message else type(error).__name__
