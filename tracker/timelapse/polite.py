"""Requests to MLflow on our own account: bounded in time, and free of side effects on anybody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from http import HTTPStatus
from typing import Any

TIMEOUT_SECONDS = 10
"""How long MLflow may be silent before a request of ours is given up, unless the user has set it."""

_OUTAGES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")
_REFUSALS = (
    "RESOURCE_DOES_NOT_EXIST",
    "INVALID_PARAMETER_VALUE",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "BAD_REQUEST",
    "INVALID_STATE",
)
_KEPT_IF_SET = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")

_ours: ContextVar[Mapping[str, Any]] = ContextVar("timelapse_request_settings", default={})  # noqa: B039 - never changed


@contextmanager
def polite_requests(
    *, retries: int = 0, timeout: float = TIMEOUT_SECONDS, quiet: bool = True
) -> Iterator[None]:
    """Bound MLflow's retries and time-outs for the requests made inside the block, in this thread only.

    MLflow reads these settings from the environment at every request, and its own defaults wait for minutes.
    The environment is not touched: what the training sends meanwhile keeps its retries. There is no jitter,
    which urllib3 would draw from the global generator. A time-out that the user has set is kept. With
    `quiet` the client does not print where the run can be seen.
    """
    _listen_to_us()
    token = _ours.set(
        {
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries,
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": 1,
            "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": 0.0,
            "MLFLOW_HTTP_REQUEST_TIMEOUT": timeout,
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": False,
            **({"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": True} if quiet else {}),
        }
    )
    try:
        yield
    finally:
        _ours.reset(token)


def is_refusal(error: BaseException) -> bool:
    """Return whether MLflow is there and says no: the request is wrong, and waiting will not mend it."""
    status = _status(error)
    if status is not None:
        return 400 <= status < 500 and status not in (408, 429)
    return getattr(error, "error_code", None) in _REFUSALS


def is_too_large(error: BaseException) -> bool:
    """Return whether a file is more than the artifact store, or a proxy before it, takes at once."""
    return _status(error) == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def is_outage(error: BaseException) -> bool:
    """Return whether MLflow cannot be reached or is in trouble itself, so that waiting may mend it."""
    status = _status(error)
    if status is not None:
        return status >= 500 or status in (408, 429)
    # requests' errors are OSErrors; what happens to a file of ours is no outage.
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)
    return getattr(error, "error_code", None) in _OUTAGES


def silence_of(text: str) -> str | None:
    """Return why nobody answers (`Connection refused`), out of the long story that clients make of it."""
    found = re.search(r"\[Errno -?\d+\] ([\w ]+)", text)
    return found[1] if found else None


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an artifact store's answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _listen_to_us() -> None:
    """Make MLflow's settings objects ask us first, once per process.

    MLflow 3.17 has no settings per client or thread; every module of it shares these objects.
    """
    from mlflow import environment_variables as settings

    for name in (
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
        "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER",
        "MLFLOW_HTTP_REQUEST_TIMEOUT",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT",
    ):
        variable = getattr(settings, name, None)
        if variable is not None and "get" not in vars(variable):
            variable.get = partial(_value, variable)


def _value(variable: Any) -> Any:
    mine = _ours.get()
    if variable.name not in mine or (variable.name in _KEPT_IF_SET and variable.is_set()):
        return type(variable).get(variable)
    return mine[variable.name]
