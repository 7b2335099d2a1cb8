"""Files that are fetched before they are wanted, as long as there is room for them."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from timelapse.reading.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

FILES_AHEAD = 4
"""How many files are fetched at the same time: with more, the first one would come later."""
MOST_BYTES = 256 << 20
"""No file is begun while those that were not taken yet are more than this."""


class FilesAhead(Threads):
    """Fetches files in threads of its own; what nobody has taken when its block is left is dropped."""

    def __init__(self) -> None:
        super().__init__(FILES_AHEAD)
        self._room = threading.Condition()
        self._held = self._expected = self._begun = 0
        self._is_over = False

    def expect(self, fetch: Callable[[], bytes]) -> Callable[[], bytes]:
        """Begin to fetch a file; return the call that waits for it and takes it, or raises what went wrong.

        Files are taken in the order in which they were expected, by one thread or several.
        """
        coming = self.begin(partial(self._fetched, self._expected), fetch)
        self._expected += 1

        def take() -> bytes:
            content = coming.result()
            self._hold(-len(content))
            return content

        return take

    def __exit__(self, *error: object) -> None:
        with self._room:
            self._is_over = True
            self._room.notify_all()
        super().__exit__(*error)

    def _fetched(self, number: int, fetch: Callable[[], bytes]) -> bytes:
        # In order: a later file that took the room of the one that is waited for would stop everything.
        with self._room:
            self._room.wait_for(lambda: self._may_begin(number))
            self._begun += 1
            self._room.notify_all()
        content = b"" if self._is_over else fetch()
        self._hold(len(content))
        return content

    def _may_begin(self, number: int) -> bool:
        return self._is_over or (number == self._begun and self._held < MOST_BYTES)

    def _hold(self, count: int) -> None:
        with self._room:
            self._held += count
            self._room.notify_all()
