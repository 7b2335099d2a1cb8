"""Endings that nobody tells us of: a crash, a signal, a program that is over before its training.

A trainer's callbacks are not told of an exception (`on_train_end` is not called then), and a program may end
anywhere. A run that is open registers here; whatever ends the program then ends the run first.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Protocol

from timelapse.fence import attempt, describe

OVER = ("FINISHED", "FAILED", "KILLED")
"""MLflow's statuses of runs that have ended."""
SIGNAL_SECONDS = 5.0
"""What a signal leaves us for all runs together: a scheduler that ends a job kills it soon after."""
TOGETHER_SECONDS = 1.0
"""Signals this close to the first are the same wish: Linux sends one for each thread of a dying parent."""


class Ending(Protocol):
    """Ends a run: MLflow's status, the reason, and how many seconds it may take (None: its own bound)."""

    def __call__(self, status: str, reason: str | None, seconds: float | None = None) -> object:
        """End the run."""


@dataclass(eq=False)
class _Open:
    end: Ending
    at_exit: str
    reason_at_exit: str | None
    in_cells: bool
    process: int
    thread: int


_open: list[_Open] = []
_handlers: dict[int, _Handler] = {}
_signal: str | None = None
_goes_on = False  # whether the handler of that signal has let the program go on
_ending_since: float | None = None  # when a signal's handler began to end the runs; it is at that still
_installed_in: int | None = None


def watch(end: Ending, *, at_exit: str, reason_at_exit: str | None, in_cells: bool) -> Callable[[], None]:
    """End a run when the program is ended before `end` was called otherwise; return how to stop watching.

    Args:
        end: Ends the run.
        at_exit: The status if the program just comes to its end.
        reason_at_exit: The reason that goes with it.
        in_cells: Whether an error in a notebook cell ends the run, because nobody else is told of it.
    """
    global _signal
    if not _ours():
        _signal = None
        _release_signals()  # that could not be done where the last run ended in another thread
    _install()
    _catch_signals()
    entry = _Open(end, at_exit, reason_at_exit, in_cells, os.getpid(), threading.get_ident())
    _open.append(entry)

    def stop() -> None:
        if entry in _open:
            _open.remove(entry)
        if not _ours() and _ending_since is None:
            _release_signals()

    return stop


def verdict(error: BaseException | None) -> tuple[str, str | None]:
    """Return how a run ends that an error (or none) passes through: MLflow's status, and the reason.

    KILLED after an interrupt, and when a signal's handler ends the program by `SystemExit`; FINISHED without
    an error, as after `sys.exit(0)`; else FAILED.
    """
    if error is None or (isinstance(error, SystemExit) and not error.code and not _signal):
        return "FINISHED", None
    if isinstance(error, KeyboardInterrupt) or (_signal and not isinstance(error, Exception)):
        return "KILLED", _signal or describe(error)  # an exit or a cancelled task comes from the signal
    return "FAILED", describe(error)


def last_signal() -> str | None:
    """Return the name of the signal that has asked this program to end, if one has."""
    return _signal


def end_abandoned(reason: str) -> None:
    """End the runs of trainings in this thread that never came to their end: another one begins."""
    for entry in _ours():
        if entry.in_cells and entry.thread == threading.get_ident():
            entry.end("FAILED", reason)


def _ours() -> list[_Open]:
    """Return the open runs of this process, the newest first; a forked child ends nobody's."""
    return [entry for entry in reversed(_open) if entry.process == os.getpid()]


def _install() -> None:
    """Chain ourselves to the hooks of the interpreter, once."""
    global _installed_in
    if _installed_in == os.getpid():
        return
    forked, _installed_in = _installed_in is not None, os.getpid()
    _watch_process_exit()
    if forked:  # the hooks came with it
        return
    sys.excepthook = _chained(sys.excepthook)
    threading.excepthook = _chained_in_threads(threading.excepthook)
    atexit.register(_at_exit)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        shell.events.register("post_run_cell", _after_cell)


def _chained(previous: Callable[..., object]) -> Callable[..., None]:
    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        _crashed(error)
        if isinstance(error, KeyboardInterrupt):
            _stay_interrupted()
        previous(kind, error, traceback)

    return excepthook


def _chained_in_threads(previous: Callable[[Any], object]) -> Callable[[Any], None]:
    def excepthook(what: threading.ExceptHookArgs) -> None:
        if what.exc_value is not None and what.exc_type is not SystemExit:
            _crashed(what.exc_value)
        previous(what)

    return excepthook


def _crashed(error: BaseException) -> None:
    """End the runs of this thread: an error has ended it. The other threads go on to their own end."""
    at_a_prompt = hasattr(sys, "ps1") or bool(sys.flags.interactive)  # there an error ends one line, no more
    for entry in _ours():
        if entry.thread == threading.get_ident() and (entry.in_cells or not at_a_prompt):
            attempt(partial(entry.end, *verdict(error)))


def _stay_interrupted() -> None:
    """Let the process still exit as one that SIGINT has ended, so that a shell's loop stops, too.

    CPython keeps that in a flag that the next `exec` of a text resets, and ending a run may import anything.
    PyTorch imports `tabulate`, where that is installed, when the process ends: it shall find it loaded.
    """
    if "torch._dynamo.utils" in sys.modules:
        attempt(partial(importlib.import_module, "tabulate"))
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")  # noqa: S102 - sets the flag again


def _watch_process_exit() -> None:
    """Have `_at_exit` called in a child of `multiprocessing`, too, which leaves out atexit's functions."""
    from multiprocessing.util import Finalize

    Finalize(None, _at_exit, exitpriority=0)


def _at_exit() -> None:
    """End the runs that are still open, by what can still be seen of how the program came to this."""
    error = sys.exc_info()[1]  # a child of `multiprocessing` is still in the midst of it
    if error is None and not hasattr(sys, "ps1"):  # at a prompt it may be an old one
        error = getattr(sys, "last_value", None)  # set even if another excepthook took our place
    for entry in _ours():
        status, reason = verdict(error)
        if status == "FINISHED":
            asked = _signal is not None and not _goes_on
            status, reason = ("KILLED", _signal) if asked else (entry.at_exit, entry.reason_at_exit)
        attempt(partial(entry.end, status, reason))


def _after_cell(result: Any) -> None:
    """End the runs of trainings that an error in a notebook cell has stopped."""
    error = result.error_before_exec or result.error_in_exec
    if error is None:
        return
    for entry in _ours():
        if entry.in_cells:
            entry.end(*verdict(error))


class _Handler:
    """Handles a signal, and leaves the decision to whoever handled it before; else it ends the program."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(self, number: int, frame: FrameType | None) -> None:
        global _signal, _goes_on, _ending_since
        if _ending_since is not None and time.monotonic() < _ending_since + TOGETHER_SECONDS:
            return
        _signal, _goes_on = signal.Signals(number).name, False
        if callable(self.before):
            self.before(number, frame)  # raises, as Python's own for SIGINT, if the program shall end
            _goes_on = True
            return
        _ending_since = time.monotonic()
        try:
            _end_all("KILLED", _signal)
        finally:
            _ending_since = None
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _end_all(status: str, reason: str) -> None:
    """End all runs of this process, within what a signal leaves them."""
    runs = _ours()
    for entry in runs:
        attempt(partial(entry.end, status, reason, SIGNAL_SECONDS / len(runs)))


def _catch_signals() -> None:
    """Handle SIGTERM and SIGINT before those who handled them so far; in the main thread only."""
    if _handlers or threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if before is not None and before is not signal.SIG_IGN:  # None: it was not installed from Python
            _handlers[number] = _Handler(before)
            signal.signal(number, _handlers[number])


def _release_signals() -> None:
    """Give the signals back, except where somebody else has taken them since."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number, handler in _handlers.items():
        before = handler.before
        if signal.getsignal(number) is handler:
            signal.signal(number, before)
    _handlers.clear()
