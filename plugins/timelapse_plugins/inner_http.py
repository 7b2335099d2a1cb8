"""MLflow on another machine, asked over HTTP with the credentials of whoever runs this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from timelapse.config.redact import redact_text
from timelapse_plugins.inner import MAX_BODY, Answer, Caller, TooLargeError
from timelapse_plugins.workspaces import HEADER

if TYPE_CHECKING:
    from requests import Response

AT_A_TIME = 8
"""Requests that are made at the same time."""
_PIECE = 64 << 10


class OverHttp:
    """A tracking server as `Inner`, see there.

    The credentials are MLflow's own: `MLFLOW_TRACKING_USERNAME`, `_PASSWORD`, `_TOKEN`, `_AUTH`, the TLS
    settings, or the file `~/.mlflow/credentials`. Of the caller's request only the workspace goes out:
    neither cookies nor anything else of a browser leaves this machine. Redirects are not followed.

    Args:
        uri: The tracking URI, `https://host/prefix`.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._limiter = anyio.CapacityLimiter(AT_A_TIME)

    async def get(
        self, path: str, params: Sequence[tuple[str, str]], caller: Caller, limit: int = MAX_BODY
    ) -> Answer:
        """Make a GET request as the user of this process, see `Inner.get`; 502 if the server is not there."""
        return await self._in_thread("GET", path, caller, limit, params=list(params))

    async def search(self, path: str, question: bytes, caller: Caller, limit: int = MAX_BODY) -> Answer:
        """Ask what MLflow tells by POST only, see `Inner.search`; 502 if the server is not there."""
        return await self._in_thread("POST", path, caller, limit, json=json.loads(question))

    async def _in_thread(self, method: str, path: str, caller: Caller, limit: int, **told: Any) -> Answer:
        workspace = dict(caller.headers).get(HEADER)
        headers = {HEADER.decode(): workspace.decode("latin-1")} if workspace else {}
        call = partial(self.ask, method, path, headers, limit, **told)
        return await anyio.to_thread.run_sync(call, limiter=self._limiter)

    def ask(self, method: str, path: str, headers: dict[str, str], limit: int, **told: Any) -> Answer:
        """Make a request and wait for its answer; `told` is what `requests` takes.

        Raises:
            TooLargeError: The answer's body has more than `limit` bytes.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request
        from requests import RequestException

        try:
            credentials = get_default_host_creds(self._uri)  # type: ignore[no-untyped-call]
            with http_request(  # type: ignore[no-untyped-call]
                credentials,
                path,
                method,
                max_retries=1,
                raise_on_status=False,
                extra_headers=headers,
                stream=True,
                allow_redirects=False,
                **told,
            ) as response:
                return _read(response, limit)
        except (MlflowException, RequestException) as error:
            return Answer(502, {"content-type": "text/plain"}, redact_text(str(error)).encode())


def _read(response: Response, limit: int) -> Answer:
    pieces, size = [], 0
    for piece in response.iter_content(_PIECE):
        size += len(piece)
        if size > limit:
            raise TooLargeError(limit)
        pieces.append(piece)
    headers = {name.lower(): value for name, value in response.headers.items()}
    # A browser would ask for a password at it, in vain: only this process's own credentials go out.
    headers.pop("www-authenticate", None)
    return Answer(response.status_code, headers, b"".join(pieces))
