"""A child's stdout and stderr, handed on to the terminal and the log as they come."""

from __future__ import annotations

import os
import selectors
from dataclasses import dataclass
from typing import IO

from timelapse_training.launching.log import LineStream

PIPE_BYTES = 64 * 1024
"""What a pipe holds: one read takes all that has been said so far."""


@dataclass
class Output:
    """One stream of a child."""

    source: IO[bytes]
    """The pipe that it says things into."""
    terminal: IO[str] | None
    """Where a person sees them; None once that is gone, which must not stop the child."""
    lines: LineStream
    """Where they are kept."""

    def read(self) -> bytes | None:
        """Return what has been said since the last time: None if nothing, empty if it was the last."""
        try:
            return os.read(self.source.fileno(), PIPE_BYTES)
        except BlockingIOError:
            return None

    def hand_on(self, data: bytes) -> None:
        """Show and keep what has been said."""
        self.lines.feed(data)
        if self.terminal is None:
            return
        try:
            raw = getattr(self.terminal, "buffer", None)
            if raw is None:
                self.terminal.write(data.decode(errors="replace"))
            else:
                raw.write(data)
            self.terminal.flush()
        except (OSError, ValueError):
            self.terminal = None

    def close(self) -> None:
        """End the stream, and so its last line."""
        self.source.close()
        self.lines.feed(b"", final=True)


def pump(*outputs: Output) -> None:
    """Hand on what a process says until all of its streams are closed.

    What it says on an earlier stream comes before what it says afterwards on a later one. So with stdout
    before stderr the error that ends a program stays the last that is heard of it.
    """
    with selectors.DefaultSelector() as readable:
        for output in outputs:
            os.set_blocking(output.source.fileno(), False)
            readable.register(output.source, selectors.EVENT_READ, output)
        while readable.get_map():
            readable.select()
            # The last is read first: what stood before it on the others is in their pipes by then.
            still_open = [output for output in outputs if not output.source.closed]
            said = [(output, output.read()) for output in reversed(still_open)]
            for output, data in reversed(said):
                if data:
                    output.hand_on(data)
                elif data is not None:
                    readable.unregister(output.source)
                    output.close()
