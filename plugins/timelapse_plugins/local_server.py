"""`mlflow server --app-name timelapse` over a store of this machine, for `timelapse ui`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from timelapse.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

START_SECONDS = 180
"""How long MLflow may take to start; on a slow machine it takes half a minute."""
_POLL_SECONDS = 0.2
_OF_ANOTHER_SERVER = ("MLFLOW_STATIC_PREFIX", "MLFLOW_GUNICORN_OPTS")
"""Options of `mlflow server`, for one behind a proxy perhaps, under which ours would not answer."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no http_proxy knows this machine


def check_store(uri: str) -> None:
    """Make sure that a store in a file exists: MLflow would make an empty one in silence.

    Raises:
        RunError: It does not.
    """
    path = Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))
    if uri.startswith("sqlite:///") and not path.exists():
        raise RunError(
            f"There is no database {path}: start in your training's folder, or name the store with "
            "--tracking-uri."
        )


def serve_local(uri: str, port: int, announce: Callable[[str], None]) -> int:
    """Run MLflow's server with our pages until it ends, and return its exit status.

    Args:
        uri: The store, as `--backend-store-uri` takes it.
        port: The port on 127.0.0.1.
        announce: Called with the address when the server answers.

    Raises:
        RunError: The server does not start.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "timelapse", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=_environment(uri))  # noqa: S603 - our own words
    try:
        _pass_on_sigterm(process)
        _wait_until_up(process, address)
        announce(f"{address}/")
        return process.wait()
    except KeyboardInterrupt:  # the terminal has sent it to MLflow, too
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _environment(uri: str) -> dict[str, str]:
    """Return what MLflow's server finds in its environment: the store, whose address may hold a password.

    Every user of a machine can read the command line of a program, but not its environment.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_SERVER}
    return kept | {"MLFLOW_BACKEND_STORE_URI": uri}


def _wait_until_up(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_up(address):
        if process.poll() is not None:
            raise RunError("MLflow's server did not start: it says above why.")
        if time.monotonic() > deadline:
            raise RunError(f"MLflow's server did not answer within {START_SECONDS} seconds.")
        time.sleep(_POLL_SECONDS)


def _is_up(address: str) -> bool:
    try:
        _DIRECT.open(f"{address}/health", timeout=5).close()
    except OSError:
        return False
    return True


def _pass_on_sigterm(process: subprocess.Popen[bytes]) -> None:
    def terminate(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    signal.signal(signal.SIGTERM, terminate)
