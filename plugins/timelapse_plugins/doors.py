"""Whether a page or a file of ours may be handed out: they hold no data, but MLflow's doors are ours, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from timelapse_plugins.remembered import Identity, Remembered

if TYPE_CHECKING:
    from collections.abc import Callable

    from timelapse_plugins.inner import Answer, Caller, Inner


class Doors(Protocol):
    """Decides who gets the shells of pages, and files."""

    async def page(self, caller: Caller) -> Answer | None:
        """Return None if the caller may have a page's shell, else what to answer instead."""
        ...  # pragma: no cover

    async def file(self, caller: Caller) -> Answer | None:
        """Return None if the caller may have a file, else what to answer instead."""
        ...  # pragma: no cover


class MlflowsDoors:
    """Opens where MLflow does, so that a browser is asked for its password, and a forged Host is refused.

    A page is judged as MLflow's own index page, a file as MLflow's own static files: by the caller's headers.

    Args:
        inner: The MLflow app.
        seconds: How long an open door is remembered; 0 for not at all.
        clock: Seconds that only grow.
    """

    def __init__(self, inner: Inner, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._identity = Identity()
        self._open = Remembered[bool](seconds, clock)

    async def page(self, caller: Caller) -> Answer | None:
        """Return MLflow's answer to `/` unless it is its index page."""
        return await self._ask("/", caller, lambda status: status == 200)

    async def file(self, caller: Caller) -> Answer | None:
        """Return MLflow's refusal of a static file; a file that it does not have is none."""
        return await self._ask("/static-files/favicon.ico", caller, lambda status: status in (200, 404))

    async def _ask(self, path: str, caller: Caller, is_open: Callable[[int], bool]) -> Answer | None:
        key = self._identity.key(caller, path)
        if self._open.get(key):
            return None
        answer = await self._inner.get(path, [], caller)
        if not is_open(answer.status):
            return answer
        self._open.put(key, True)
        return None


class OpenDoors:
    """Lets everybody in; for a server that has checked its one user already."""

    async def page(self, caller: Caller) -> Answer | None:
        """Return None."""
        return None

    async def file(self, caller: Caller) -> Answer | None:
        """Return None."""
        return None
