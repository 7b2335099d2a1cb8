"""The uploader: one background thread that hands entries to MLflow, in order, for as long as it takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from timelapse.fence import Fence, attempt, describe
from timelapse.polite import TIMEOUT_SECONDS, is_refusal, polite_requests
from timelapse.writing.entries import ARTIFACT_KINDS, DamagedEntryError, Entry

if TYPE_CHECKING:
    from timelapse.writing.delivery import Delivery

QUIET_SECONDS, LONGEST_WAIT_SECONDS, MOST_WAITING = 0.05, 5.0, 2000
"""While entries keep coming in, the thread that logs them has the processor: sending begins when it has been
quiet for a moment, after this long, or when so many entries wait."""
REACHING = "sending to MLflow"
"""What a fence calls the activity that fails while MLflow is away: it is said once."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""After a failure the next try waits this long, twice as long after each further one."""
SECONDS_BETWEEN_TABLES = 30.0
"""How often, at the most, what changes with every round (the latest table) is sent before the end."""
LONGEST_TIMEOUT_SECONDS = 120.0
"""A server that is slow rather than away gets more time with each try, up to this."""
MOST_TOGETHER = {"round": 16, "numbers": 100}
"""How many entries that have piled up share one request for their numbers."""
REST_FOR_WORK, LONGEST_REST_SECONDS, MOST_PACED = 40.0, 0.1, 2
"""While a training runs, judging an answer is followed by forty times as long a rest, at most this, unless
more entries than these wait and no more keep coming in: Python runs one thread at a time, and the training's
has the right of way."""
_LAST = float("inf")


class Lane:
    """Entries that wait for one part of MLflow, which may be away while the other part works."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque()
        self.error: BaseException | None = None
        """Why the last try failed; None after a success."""
        self._pause, self._retry_at = FIRST_PAUSE_SECONDS, 0.0
        self._timeout: float = TIMEOUT_SECONDS

    @property
    def timeout(self) -> float:
        """Seconds that the next request may take."""
        return self._timeout

    def wait_seconds(self) -> float:
        """Return how long this lane still rests after a failure."""
        return max(0.0, self._retry_at - time.monotonic())

    def hurry(self) -> None:
        """Try again now, and from then on at short intervals."""
        self._pause, self._retry_at, self.error = FIRST_PAUSE_SECONDS, 0.0, None

    def group(self) -> list[Entry]:
        """Return the entries that are sent together: the first, and those of its kind behind it.

        After a failure only the first: what is wrong with one shall not be blamed on others.
        """
        most = 1 if self.error is not None or not self.entries else MOST_TOGETHER.get(self.entries[0].kind, 1)
        first = islice(self.entries, most)
        return list(takewhile(lambda entry: entry.kind == self.entries[0].kind, first))

    def succeeded(self, done: int) -> None:
        """Forget the failures, and the first entries, which are done."""
        for _ in range(done):
            self.entries.popleft()
        self.error, self._pause, self._timeout = None, FIRST_PAUSE_SECONDS, TIMEOUT_SECONDS

    def hurry_alone(self, error: BaseException) -> None:
        """Try the first entry by itself at once: it may be one of the others that has failed."""
        self.hurry()
        self.error = error

    def failed(self, error: BaseException) -> None:
        """Rest for a while, longer each time."""
        self.error = error
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if "imeout" in describe(error) or "timed out" in str(error):
            self._timeout = min(2 * self._timeout, LONGEST_TIMEOUT_SECONDS)


class Uploader:
    """Delivers entries in a thread of its own, which starts with the first entry.

    Two lanes: what goes to the artifact store, and what the tracking store alone takes. Each is in order, and
    while both work the order is kept between them, too; if one part of MLflow fails, the other goes on. The
    end of a run waits for its rounds, unless `drain` is told that it must not.

    A failure is never fatal and never raised: the lane rests, then tries again. What MLflow will never take
    is left in the spool and said, and the lane goes on.
    """

    def __init__(self, delivery: Delivery, fence: Fence) -> None:
        self._delivery, self._fence = delivery, fence
        self._artifacts, self._numbers = Lane(), Lane()
        self._wake = threading.Condition()  # reentrant: a signal handler of ours may log, too
        self._thread: threading.Thread | None = None
        self._stop = self._busy = False
        self._rest = self._end_now = False
        self._untidy, self._tidy_at = False, 0.0
        self._burst_at = self._added_at = self._tried_at = self._progress_at = 0.0
        self._draining = False
        self._logging = 0
        self.left: list[Entry] = []
        """What MLflow will not take, or what is damaged: it stays in the spool."""

    def add(self, entry: Entry) -> None:
        """Take an entry to be sent in its turn."""
        with self._wake:
            lane = self._artifacts if entry.kind in ARTIFACT_KINDS else self._numbers
            self._added_at = time.monotonic()
            if not (self._artifacts.entries or self._numbers.entries):
                self._burst_at = self._added_at
            if not lane.entries:  # else the thread is at it, or knows when to look again
                self._wake.notify_all()
            lane.entries.append(entry)
            self._start()

    def waiting(self) -> list[Entry]:
        """Return what MLflow does not hold yet, in order."""
        with self._wake:
            every = [*self._artifacts.entries, *self._numbers.entries, *self.left]
        return sorted(every, key=lambda entry: entry.number)

    def trouble(self) -> BaseException | None:
        """Return why the last request failed, if it did."""
        return self._artifacts.error or self._numbers.error

    def drain(self, patience: float, *, rest: bool, end_now: bool = False, longest: float = 600.0) -> bool:
        """Wait until everything is sent, and return whether it is.

        Args:
            patience: Seconds without any progress after which it is given up.
            rest: Complete the run's files, too: nobody writes for now.
            end_now: Let the run end even if its rounds cannot be sent now.
            longest: Seconds after which it is given up in any case.
        """
        with self._wake:
            self._rest, self._end_now, self._draining = rest, end_now, True
            self._artifacts.hurry()
            self._numbers.hurry()
            if self._is_unfinished():
                self._start()
            self._wake.notify_all()
            began = time.monotonic()
            while self._is_unfinished() and not self._is_hopeless():
                give_up = min(began + longest, max(began, self._progress_at) + patience)
                if (left := give_up - time.monotonic()) <= 0:
                    break
                self._wake.wait(left)
            unfinished = self._is_unfinished()
            self._rest = self._draining = False
            return not unfinished

    @contextmanager
    def right_of_way(self) -> Iterator[None]:
        """Stand back while a thread logs: Python gives it the turn back only after 5 ms, again and again."""
        with self._wake:
            self._logging += 1
        try:
            yield
        finally:
            with self._wake:
                self._logging -= 1
                self._wake.notify_all()

    def pace(self, seconds: float) -> None:
        """Rest after so many seconds of computing, unless somebody waits for us."""
        with self._wake:
            self._progress_at = time.monotonic()  # who waits for us looks there; to wake it each time costs
            if self._draining or self._stop:
                return
            if self._logging:
                self._wake.wait(LONGEST_REST_SECONDS)
            elif len(self._artifacts.entries) <= MOST_PACED or self._seconds_of_logging():
                self._wake.wait(rest_after(seconds))

    def stop(self, seconds: float) -> None:
        """End the thread after its present request, for which it is given some seconds."""
        with self._wake:
            self._stop = True
            self._wake.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def _start(self) -> None:
        if (self._thread is None or not self._thread.is_alive()) and not self._stop:
            self._thread = threading.Thread(target=self._work, name="timelapse-uploader", daemon=True)
            self._thread.start()

    def _is_unfinished(self) -> bool:
        waiting = bool(self._artifacts.entries or self._numbers.entries)
        return waiting or self._busy or self._has_chores()

    def _is_hopeless(self) -> bool:
        """Return whether MLflow is there and has refused all that still waits."""

        def is_stuck(lane: Lane) -> bool:
            return self._is_held_back(lane) or (lane.error is not None and is_refusal(lane.error))

        lanes = [lane for lane in (self._artifacts, self._numbers) if self._has_work(lane)]
        return not self._busy and all(is_stuck(lane) for lane in lanes)

    def _is_held_back(self, lane: Lane) -> bool:
        """Return whether a lane has come to the run's end, and its rounds are not all there yet."""
        at_the_end = bool(lane.entries) and lane.entries[0].kind == "end"
        return at_the_end and not self._end_now and bool(self._artifacts.entries or self._rest)

    def _has_work(self, lane: Lane) -> bool:
        return bool(lane.entries) or (lane is self._artifacts and self._has_chores())

    def _has_chores(self) -> bool:
        """Return whether the run's files are to be completed: seldom, unless somebody waits for it."""
        may_tidy = self._draining or time.monotonic() >= self._tidy_at
        return self._rest or (self._untidy and may_tidy)

    def _work(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                while not self._stop and (lane := self._next_lane()) is None:
                    self._wake.wait(self._seconds_to_wait())
                if self._stop:
                    return
                assert lane is not None
                self._busy, self._tried_at = True, time.monotonic()
                group = lane.group()
            self._try(lane, group)

    def _next_lane(self) -> Lane | None:
        """Return the lane whose turn it is: of those that need not rest the one with the oldest entry."""
        if self._seconds_of_quiet():
            return None
        ready = [
            lane
            for lane in (self._artifacts, self._numbers)
            if self._has_work(lane) and not lane.wait_seconds() and not self._is_held_back(lane)
        ]
        if self._end_now and self._numbers in ready:  # the end is among them, and must not wait for a round
            return self._numbers
        return min(ready, key=lambda lane: lane.entries[0].number if lane.entries else _LAST, default=None)

    def _seconds_of_quiet(self) -> float:
        """Return how long to stand back for the thread that is logging just now."""
        waited = time.monotonic() - max(self._tried_at, self._burst_at)
        return 0.0 if self._draining or waited > LONGEST_WAIT_SECONDS else self._seconds_of_logging()

    def _seconds_of_logging(self) -> float:
        """Return for how long it still looks as if a thread were logging one entry after the other."""
        if len(self._artifacts.entries) + len(self._numbers.entries) > MOST_WAITING:
            return 0.0
        return max(0.0, self._added_at + QUIET_SECONDS - time.monotonic())

    def _seconds_to_wait(self) -> float | None:
        """Return after how long something may become due by itself."""
        waits = [lane.wait_seconds() for lane in (self._artifacts, self._numbers) if lane.wait_seconds()]
        if self._artifacts.entries or self._numbers.entries:
            waits += [quiet] if (quiet := self._seconds_of_quiet()) else []
        if self._untidy:
            waits.append(max(0.01, self._tidy_at - time.monotonic()))
        return min(waits, default=None)

    def _try(self, lane: Lane, group: list[Entry]) -> None:
        """Make the requests for some entries, or complete the run's files if there are none."""
        error: BaseException | None
        try:
            with self._delivery.at_work(), polite_requests(timeout=lane.timeout):
                _none, error = attempt(
                    partial(self._delivery.deliver, group, self.pace) if group else self._complete
                )
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as found:  # a scorer's: this thread goes on
            error = RuntimeError(f"something asked the program to end: {found!r}")
        with self._wake:
            if error is None:
                self._progress_at = time.monotonic()
                lane.succeeded(len(group))
                self._untidy = self._untidy or (bool(group) and group[0].kind in ("samples", "round"))
            elif len(group) == 1 and (isinstance(error, DamagedEntryError) or _is_wrong(group[0], error)):
                self._progress_at = time.monotonic()
                lane.succeeded(1)
                self.left += group
            else:
                lane.failed(error)
                if len(group) > 1:
                    lane.hurry_alone(error)
                    return
        if error is not None:
            self._say(group, error)

    def _complete(self) -> None:
        """Bring the run's files up to date; while it is at rest also the compaction."""
        if self._rest:
            self._delivery.rest(self.pace)
            self._rest = False
        else:
            self._delivery.tidy()
        self._untidy, self._tidy_at = False, time.monotonic() + SECONDS_BETWEEN_TABLES

    def _say(self, group: list[Entry], error: BaseException) -> None:
        if group and group[0] in self.left:
            kept = f"It is kept: {group[0].path}." if group[0].path else "It is lost."
            self._fence.report("sending an entry", describe(error), kept)
            return
        self._fence.report(
            REACHING,
            describe(error),
            "The training goes on; rounds wait on disk, and are sent when MLflow answers again.",
        )


def rest_after(seconds: float) -> float:
    """Return how long to rest after so many seconds of computing beside a training."""
    return min(REST_FOR_WORK * seconds, LONGEST_REST_SECONDS)


def _is_wrong(entry: Entry, error: BaseException) -> bool:
    """Return whether a request can never be right: then it must not hold up the others."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    wrong = getattr(error, "error_code", None) in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
    ours = isinstance(error, _OWN_MISTAKES) and not isinstance(error, OSError)
    return wrong or ours or (entry.kind in ARTIFACT_KINDS and status in (400, 413))


_OWN_MISTAKES = (TypeError, ValueError, LookupError, AttributeError, AssertionError)
