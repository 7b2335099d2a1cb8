"""Errors as `application/problem+json`: what is wrong, and what to do. Source: RFC 9457."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from pydantic_core import PydanticSerializationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from timelapse.errors import TimelapseError
from timelapse_plugins.inner import TooLargeError
from timelapse_plugins.refusals import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE = "application/problem+json"

_HINTS = {
    401: "Log in to MLflow, or send the credentials that you use for it.",
    403: "Ask somebody who may manage the experiment for READ permission.",
    404: "Look at the address; the API's paths and parameters are listed at openapi.json.",
    405: "Everything here is read with GET; nothing can be changed.",
    422: "Correct the parameter; the API's parameters are listed at openapi.json.",
    500: "Look at the log of the MLflow server: it says where. Please report it as a bug of Timelapse.",
    503: "Try again in a minute.",
    502: "Look at the log of the MLflow server, and try again.",
}


@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """What went wrong with a request."""

    type: str
    """Always `about:blank`: the status says what kind of problem it is."""
    title: str
    """The name of the status."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong, in a sentence."""
    hint: str
    """What to do."""


class Problem(Exception):  # noqa: N818 - it is what is answered
    """A request that cannot be answered as it was asked."""

    def __init__(self, status: int, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.status, self.detail, self.hint = status, detail, hint or _HINTS.get(status, "")


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return a problem as an answer."""
    title = HTTPStatus(problem.status).phrase
    document = ProblemDocument("about:blank", title, problem.status, problem.detail, problem.hint)
    body = json.dumps(asdict(document), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, problem.status, dict(headers or {}), MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Make an app answer all that goes wrong with a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(TimelapseError, _not_there)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PydanticSerializationError, _unwritable)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _refused(_: Request, error: Exception) -> Response:
    """Answer what MLflow did; its own failures are those of a gateway, a way to log in is a refusal."""
    assert isinstance(error, Refused)
    known = {each.value: each.phrase for each in HTTPStatus}  # a proxy's 499 or 520 is none of them
    said = error.said or known.get(error.status, "no reason given")
    status = error.status if error.status in known else 502
    if error.status >= 500:
        return problem_response(Problem(502, f"MLflow failed with {error.status}: {said}"))
    if error.status < 400:
        return problem_response(Problem(401, "MLflow sends you to its own page, as if to log in."))
    kept = {name: error.headers[name] for name in ("www-authenticate",) if name in error.headers}
    hint = _HINTS.get(error.status, "MLflow itself refuses this; see what it says.")
    return problem_response(Problem(status, f"MLflow refuses: {said}", hint), kept)


async def _not_there(_: Request, error: Exception) -> Response:
    return problem_response(Problem(404, str(error), "Take one of those that there are."))


async def _too_large(_: Request, error: Exception) -> Response:
    return problem_response(Problem(502, f"MLflow's answer cannot be used: {error}."))


async def _unwritable(_: Request, error: Exception) -> Response:
    detail = "This cannot be written as JSON: it is nested too deeply, or holds half a character."
    return problem_response(Problem(422, detail, "Correct the configuration, or the run's samples."))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(Problem(422, "; ".join(map(_sentence, error.errors()))))


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {404: "There is nothing at this address.", 405: "This method is not possible here."}
    return problem_response(
        Problem(error.status_code, details.get(error.status_code, error.detail)), error.headers
    )


async def _unforeseen(_: Request, _error: Exception) -> Response:
    """Answer before the server logs the error, which is raised again; nothing of it is told to callers."""
    return problem_response(Problem(500, "Timelapse failed at this."))


def _sentence(found: Mapping[str, Any]) -> str:
    place: Sequence[Any] = found["loc"]
    value = repr(found.get("input"))
    shown = value if len(value) <= 80 else value[:79] + "…"
    return f"{'.'.join(map(str, place[1:]))}: {found['msg']}, got {shown}"
