"""What a child process says, as it is stored: whole lines, secrets masked, bounded in size."""

from __future__ import annotations

import codecs
import re
import threading
from collections import deque
from collections.abc import Callable, Collection

from timelapse_training.launching.masking import masker

FIRST_BYTES, LAST_BYTES = 256 * 1024, 768 * 1024
"""How much is kept of the beginning and of the end of a log; what is between is left out, and said."""
LONGEST_LINE = 16 * 1024
"""Characters of a line that are kept."""
_MARGIN = 4 * 1024  # a secret that begins before the limit is seen whole, and masked
TAIL_LINES, TAIL_CHARACTERS = 20, 4000
"""How much of a log's end becomes a tag of a failed run: MLflow's limit is 8,000 characters."""

_PIECES = re.compile(r"[^\r\n]+|\r|\n")
# Colours and other orders to a terminal, and what a database does not take (NUL).
_ORDERS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~] | \x1b\][^\x07\x1b]*(?:\x07|\x1b\\) | \x1b[@-Z\\-_] | [\x00-\x08\x0b-\x1f\x7f]",
    re.VERBOSE,
)


class JobLog:
    """The lines of a job: its beginning and its end, within fixed bounds. Streams may add from threads.

    Args:
        secrets: Values that are replaced by `***` wherever they stand.
        first: Bytes kept of the beginning.
        last: Bytes kept of the end.
    """

    def __init__(
        self, secrets: Collection[str] = (), *, first: int = FIRST_BYTES, last: int = LAST_BYTES
    ) -> None:
        self._secrets, self._first, self._last = secrets, first, last
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self._cut_lines = self._cut_bytes = 0
        self._guard = threading.Lock()
        self.lines = 0
        """How many lines there have been."""

    def stream(self) -> LineStream:
        """Return what takes the bytes of one stream of the process."""
        return LineStream(masker(self._secrets), self.add)

    def add(self, line: str) -> None:
        """Add a line as it is."""
        size = len(line.encode(errors="replace")) + 1
        with self._guard:
            self.lines += 1
            if not self._tail and self._head_size + size <= self._first:
                self._head.append(line)
                self._head_size += size
                return
            self._tail.append(line)
            self._tail_size += size
            while self._tail_size > self._last and len(self._tail) > 1:
                gone = len(self._tail.popleft().encode(errors="replace")) + 1
                self._tail_size -= gone
                self._cut_lines += 1
                self._cut_bytes += gone

    def text(self) -> str:
        """Return the log; where lines are left out it says how many, and of how many bytes."""
        with self._guard:
            cut = f"[… {self._cut_lines} lines, {self._cut_bytes} bytes, are left out here …]"
            kept = [*self._head, *([cut] if self._cut_lines else []), *self._tail]
        return "".join(f"{line}\n" for line in kept)

    def last(self) -> str:
        """Return the last lines: at most 20, and 4,000 characters."""
        with self._guard:
            lines = [*self._head[-TAIL_LINES:], *self._tail][-TAIL_LINES:]
        text = "\n".join(lines).strip()
        return text if len(text) <= TAIL_CHARACTERS else f"…{text[1 - TAIL_CHARACTERS :]}"


class LineStream:
    """Makes lines of bytes, as a terminal would show them: what a progress bar overwrites is not kept."""

    def __init__(self, mask: Callable[[str], str], add: Callable[[str], None]) -> None:
        self._mask, self._add = mask, add
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._line, self._open = "", False
        self._returned = self._cut = False
        self._guard = threading.Lock()

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take bytes; with `final` the stream has ended, and so has its last line. Threads may share it."""
        with self._guard:
            for piece in _PIECES.findall(self._decoder.decode(data, final)):
                if piece == "\n":
                    self._end_line()
                elif piece == "\r":
                    self._returned = True
                else:
                    self._grow(piece)
            if final and self._open:
                self._end_line()

    def _grow(self, piece: str) -> None:
        if self._returned:
            self._line, self._returned, self._cut = "", False, False
        room = LONGEST_LINE + _MARGIN - len(self._line)
        self._cut = self._cut or len(piece) > room
        self._line += piece[:room]
        self._open = True

    def _end_line(self) -> None:
        line = self._mask(_ORDERS.sub("", self._line))
        if self._cut or len(line) > LONGEST_LINE:
            line = f"{line[:LONGEST_LINE]} [… the rest of this line is left out]"
        self._add(line)
        self._line, self._open = "", False
        self._returned = self._cut = False
