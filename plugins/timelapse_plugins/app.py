"""What `mlflow server --app-name timelapse` loads: MLflow's own app, or another plugin's, with our pages.

MLflow imports this module in the parent process, too, to see whether `create_app` is a function: importing
it does nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint, entry_points
from types import FunctionType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from timelapse.errors import ConfigError, TimelapseError
from timelapse.reading.cache import cache_root

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from timelapse_plugins.settings import ServerSettings

GROUP = "mlflow.app"
"""MLflow's entry-point group for server apps."""
OURS = "timelapse"
"""Our own name in that group."""
MLFLOWS_OWN = "mlflow.server.fastapi_app:app"
"""What `mlflow server` serves without `--app-name`."""

_BASIC_AUTH = "mlflow.server.auth:create_app"
_JOBS = "_MLFLOW_HUEY_STORAGE_PATH"
_JOBS_TOKEN = "_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN"  # noqa: S105 - the variable's name

_START_LOCK, _LONGEST_START_SECONDS = "server-start.lock", 60

_STARTUP_FAILURE = 3
"""The exit status by which a worker tells uvicorn and gunicorn not to start it again."""


def create_app() -> ASGIApp:
    """Make the app that a worker of `mlflow server` serves.

    What keeps it from starting is said in one line on stderr, and ends the server: its supervisor does not
    start the worker anew.
    """
    from mlflow.exceptions import MlflowException

    from timelapse_plugins.settings import read_settings

    try:
        return build_app(read_settings())
    except (TimelapseError, MlflowException) as error:
        _tell(str(error))
        raise SystemExit(_STARTUP_FAILURE) from None


def build_app(settings: ServerSettings) -> ASGIApp:
    """Load the inner app and put ours around it.

    Raises:
        ConfigError: There is no such inner app, or the server is none for ASGI apps.
    """
    if settings.server_kind not in (None, "uvicorn"):
        raise ConfigError(
            f"'--app-name {OURS}' needs uvicorn, which `mlflow server` uses by default: "
            f"start it without '--{settings.server_kind}-opts'."
        )
    from timelapse_plugins.wrapper import wrap

    target = inner_target(settings.inner_app)
    if target == _BASIC_AUTH and os.environ.get(_JOBS) and not os.environ.get(_JOBS_TOKEN):
        # `mlflow server` makes this token for its workers and jobs under `--app-name basic-auth` alone.
        _tell(
            "Warning: judges that run as jobs cannot log in to MLflow's gateway, because basic-auth is "
            f"behind Timelapse: set {_JOBS_TOKEN} to a random secret before `mlflow server`, or turn jobs "
            "off with MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false."
        )
    return wrap(load_inner(target), settings, remembers=may_remember(target))


def inner_target(name: str | None) -> str:
    """Return where an inner app is, as `module:object`; MLflow's own for None.

    Raises:
        ConfigError: No app has this name, or it is our own. Says which there are.
    """
    if name is None:
        return MLFLOWS_OWN
    known: dict[str, EntryPoint] = {entry.name: entry for entry in entry_points(group=GROUP)}
    known.pop(OURS, None)
    if name not in known:
        why = "is this very app" if name == OURS else "names no app of MLflow's"
        there = ", ".join(sorted(known)) or "none"
        raise ConfigError(
            f"TIMELAPSE_INNER_APP={name} {why}. There are: {there}. Unset it to have MLflow's own app."
        )
    return known[name].value


def load_inner(target: str) -> ASGIApp:
    """Load an inner app as `mlflow server` would: a function is called, anything else is the app.

    Raises:
        ConfigError: It cannot be imported, or is no ASGI app.
    """
    try:
        found: Any = EntryPoint(name=target, value=target, group=GROUP).load()
    except ImportError as error:
        raise ConfigError(
            f"The app {target} (TIMELAPSE_INNER_APP) cannot be loaded: {error}. Install what it needs."
        ) from error
    if isinstance(found, FunctionType):
        with _one_worker_at_a_time():
            app = found()
    else:
        app = found
    if not callable(app) or hasattr(app, "wsgi_app"):
        raise ConfigError(
            f"The app {target} (TIMELAPSE_INNER_APP) is no ASGI app: it cannot be served by uvicorn, "
            "nor by Timelapse. Ask its makers for one that runs with `mlflow server` of this version."
        )
    return app  # type: ignore[no-any-return]


def may_remember(target: str) -> bool:
    """Return whether an inner app's permissions depend on a request's headers and address alone.

    Of apps that we do not know, nothing is remembered: each request asks them anew.
    """
    if target == MLFLOWS_OWN:
        return True
    if target != _BASIC_AUTH:
        return False
    from mlflow.server.auth import auth_config
    from mlflow.server.auth.config import DEFAULT_AUTHORIZATION_FUNCTION

    return bool(auth_config.authorization_function == DEFAULT_AUTHORIZATION_FUNCTION)


@contextmanager
def _one_worker_at_a_time() -> Iterator[None]:
    """Let the workers that start on this machine through one by one.

    basic-auth makes its tables and its administrator in each worker, and one of two that do so at the same
    moment dies; under its own name `mlflow server` makes them before the workers. Where no lock can be had,
    they go on without.
    """
    folder = cache_root()
    lock = FileLock(folder / _START_LOCK)
    with suppress(OSError):  # filelock's Timeout is one, too
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_LONGEST_START_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _tell(text: str) -> None:
    print(f"timelapse: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for who started the server
