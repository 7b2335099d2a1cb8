"""MLflow's refusals: what it answers to a caller who may not see a run, or to a run that there is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timelapse_plugins.inner import Answer


class Refused(Exception):  # noqa: N818 - an answer, not a failure of ours
    """MLflow answered a request that was made as the caller with something else than the thing asked for."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body
        super().__init__(f"MLflow answers {status}: {self.said}" if self.said else f"MLflow answers {status}")

    @property
    def said(self) -> str:
        """What MLflow said for people, in one line of at most 500 characters; empty if nothing."""
        text = self.body[:10_000].decode("utf-8", "replace")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            text = str(found.get("message") or found.get("detail") or "")
        elif "<" in text:  # a page for browsers
            text = ""
        return " ".join(text.split())[:500]


def object_of(answer: Answer) -> Mapping[str, Any]:
    """Return the JSON object that MLflow answered.

    Raises:
        Refused: It is something else, such as the page of a proxy that asks for a password.
    """
    try:
        found = json.loads(answer.body or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(502, {}, b"its API answered with no JSON object: is a login page in the way?")
    return found
