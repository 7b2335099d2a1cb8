"""The child process of a launch: its own process group, its output, the signals that it is sent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from timelapse.errors import TimelapseError
from timelapse.fence import describe
from timelapse_training.launching.ended import NOT_STARTED, Ended
from timelapse_training.launching.log import JobLog
from timelapse_training.launching.output import Output, pump

GRACE_SECONDS = 20.0
"""How long a child may take to end after a signal, before it is killed. Schedulers wait 30 seconds."""
TOGETHER_SECONDS = 1.0
"""Signals this close to the first are the same wish: a closing terminal and systemd send two."""
LEFT_BEHIND_SECONDS = 3.0
"""How long processes that the child has left behind may go on before SIGTERM, and then before SIGKILL."""
POLL_SECONDS = 0.5
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")

# Before the child's program takes its place: Linux sends it SIGTERM if the launcher dies, whatever way.
_TIE = """
import os, sys
parent, *command = sys.argv[1:]
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 15)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(parent):
    sys.exit("the launcher is gone")
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.stderr.write(f"timelapse launch: {command[0]} cannot be started: {error}\\n")
    sys.stderr.flush()
    os._exit(127)
"""


class Launcher:
    """Runs one command, hands on its output and the signals, and returns only when nothing of it is left.

    Used as a context manager in the main thread: inside it SIGINT, SIGTERM and SIGHUP are caught, each unless
    it is ignored (`nohup`); on leaving the handlers before are back, and the child is gone.

    Args:
        log: Takes what the child says, beside the terminal.
        grace: Seconds between a signal and SIGKILL.
    """

    def __init__(self, log: JobLog, *, grace: float = GRACE_SECONDS) -> None:
        self._log, self._grace = log, grace
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._output: list[Output] = []
        self._handlers: dict[signal.Signals, Any] = {}
        self._asked_at = self._kill_at = float("inf")
        self._told = False
        self.asked: str | None = None
        """The signal that this process was sent first, if it was."""

    def __enter__(self) -> Launcher:
        if os.name != "posix":
            raise TimelapseError("A launch needs process groups (Linux, macOS): use `timelapse train` here.")
        for name in _FORWARDED:
            number = signal.Signals[name]
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._handlers[number] = signal.signal(number, self._forward)
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        for number, before in self._handlers.items():
            signal.signal(number, before)

    def stop(self) -> None:
        """End a child that still runs, because we have failed ourselves."""
        if self._process is not None and self._process.poll() is None:
            self._send(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace)
        self._clear_away()

    def run(
        self, command: Sequence[str], environment: Mapping[str, str], beat: Callable[[], object]
    ) -> Ended:
        """Run a command to its end, and return how it ended.

        Args:
            command: Program and arguments.
            environment: Its whole environment.
            beat: Called about twice a second while it runs.
        """
        if self.asked:
            return Ended(-signal.Signals[self.asked], self.asked)
        try:
            self._start(command, environment)
        except OSError as error:
            self._say(f"timelapse launch: the training cannot be started: {describe(error)}")
            return Ended(NOT_STARTED, self.asked)
        assert self._process is not None
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = self._process.wait(POLL_SECONDS)
                break
            if time.monotonic() >= self._kill_at:
                self._say(f"timelapse launch: {self._grace:g} s after {self.asked}, the training is killed")
                self._kill()
            beat()
        self._clear_away()
        return Ended(code, self.asked)

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        tied = [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]
        self._process = subprocess.Popen(  # noqa: S603 - the command is what we are for
            tied if sys.platform == "linux" else list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,  # in a group of its own it could not read from a terminal
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
        if self.asked and not self._told:  # while there was a child that we did not know of yet
            self._send(signal.Signals[self.asked])
        output: list[Output] = []
        for source, terminal in ((self._process.stdout, sys.stdout), (self._process.stderr, sys.stderr)):
            assert source is not None
            output.append(Output(source, terminal, self._log.stream()))
        self._output = output
        self._pump = threading.Thread(target=pump, args=output, name="launch-output", daemon=True)
        self._pump.start()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked is None:
            self.asked, self._asked_at, self._kill_at = signal.Signals(number).name, now, now + self._grace
            self._told = self._process is not None
            self._send(number)
        elif now > self._asked_at + TOGETHER_SECONDS:
            self._kill()

    def _kill(self) -> None:
        self._kill_at = float("inf")
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> bool:
        """Send a signal to the child's group, and return whether anybody is there."""
        if self._process is None:
            return False
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _clear_away(self) -> None:
        """Take the rest of the output, and end what the child has left behind in its group."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + LEFT_BEHIND_SECONDS
            if self._pump is not None:
                self._pump.join(LEFT_BEHIND_SECONDS)
            while self._send(0) and number == signal.SIGKILL and time.monotonic() < deadline:
                time.sleep(0.02)
            self._send(number)
        if self._process is not None:
            self._process.wait()
        if self._pump is not None:
            self._pump.join(LEFT_BEHIND_SECONDS)
        for output in self._output:  # a daemon outside the group may keep it open
            output.lines.feed(b"", final=True)
        self._process, self._pump, self._output = None, None, []

    def _say(self, line: str) -> None:
        self._log.add(line)
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
