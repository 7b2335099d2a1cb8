"""Artifacts that MLflow's server hands out, over one session: what a request needs is worked out once.

MLflow works out headers, credentials and proxies anew for every file: longer than it takes to fetch a small
one. What it would send is sent here, too; whatever is not plain is left to MLflow's own way.
"""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.utils.rest_utils import MlflowHostCreds
    from urllib3 import HTTPConnectionPool


class DirectDownloads:
    """Fetches files from one MLflow server, for the time of one reading; several threads may use it.

    Args:
        tracking_uri: The server. Nothing is sent anywhere else, and no redirect is followed.
        connections: How many connections are kept.
    """

    def __init__(self, tracking_uri: str, connections: int) -> None:
        self._tracking_uri, self._connections = tracking_uri, connections
        self._guard = threading.Lock()
        self._pool: HTTPConnectionPool | None = None
        self._headers: dict[str, str] = {}
        self._tried = False

    def get(self, store: ArtifactRepository, path: str) -> bytes | None:
        """Return a file of a store; None if it is not for us, or the answer is anything but the file."""
        from http import HTTPStatus

        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_TIMEOUT
        from urllib3.exceptions import HTTPError

        if not self._serves(store) or (pool := self._opened()) is None:
            return None
        timeout = MLFLOW_HTTP_REQUEST_TIMEOUT.get()  # type: ignore[no-untyped-call]
        try:
            answer = pool.urlopen(
                "GET",
                f"{urlsplit(store.artifact_uri).path}/{path}",
                headers=self._headers,
                timeout=timeout,
                retries=False,
                redirect=False,
            )
        except HTTPError:
            return None
        return answer.data if answer.status == HTTPStatus.OK else None

    def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            self._pool.close()

    def _serves(self, store: ArtifactRepository) -> bool:
        """Return whether the store's files come through the tracking server itself, from the same host."""
        from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

        if type(store) is not MlflowArtifactsRepository:
            return False
        return urlsplit(store.artifact_uri)[:2] == urlsplit(self._tracking_uri)[:2]

    def _opened(self) -> HTTPConnectionPool | None:
        """Return the connections; None if they need a proxy, or each request a signature of its own."""
        with self._guard:
            if not self._tried:
                self._tried = True
                self._open()
        return self._pool

    def _open(self) -> None:
        """Let requests work out what it does for each file anew: headers, certificates, proxies, `.netrc`."""
        import requests
        from mlflow.utils.credentials import get_default_host_creds
        from requests.adapters import HTTPAdapter

        credentials = get_default_host_creds(self._tracking_uri)  # type: ignore[no-untyped-call]
        if credentials.aws_sigv4 or credentials.auth:
            return
        session = requests.Session()
        settings = session.merge_environment_settings(
            self._tracking_uri, {}, True, credentials.verify, credentials.client_cert_path
        )
        if requests.utils.select_proxy(self._tracking_uri, settings["proxies"]):
            return
        session.headers.update(_headers(credentials))
        request = session.prepare_request(requests.Request("GET", self._tracking_uri))
        adapter = HTTPAdapter(pool_maxsize=self._connections)
        self._headers = cast("dict[str, str]", dict(request.headers))
        self._pool = adapter.get_connection_with_tls_context(
            request, settings["verify"], cert=settings["cert"]
        )


def _headers(credentials: MlflowHostCreds) -> dict[str, str]:
    """Return the headers that MLflow sends with every request."""
    from mlflow.tracking.request_header.registry import resolve_request_headers
    from mlflow.utils.workspace_context import get_request_workspace
    from mlflow.utils.workspace_utils import WORKSPACE_HEADER_NAME

    headers: dict[str, str] = dict(resolve_request_headers())  # type: ignore[no-untyped-call]
    if workspace := get_request_workspace():
        headers.setdefault(WORKSPACE_HEADER_NAME, workspace)
    if credentials.username and credentials.password:
        pair = f"{credentials.username}:{credentials.password}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    elif credentials.token:
        headers["Authorization"] = f"Bearer {credentials.token}"
    return headers
