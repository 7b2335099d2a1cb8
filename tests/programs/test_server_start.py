"""`mlflow server --app-name timelapse` that cannot start: it says why, and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from servers import WITHOUT_JOBS, free_port


@pytest.mark.timeout(600)
def test_a_server_that_cannot_start_ends_by_itself(tmp_path: Path, empty_store: Path) -> None:
    """With several workers: their supervisor must not start them for ever."""
    start = [sys.executable, "-m", "mlflow", "server", "--app-name", "timelapse"]
    start += ["--host", "127.0.0.1", "--backend-store-uri", f"sqlite:///{empty_store}"]
    # On a slow machine uvicorn takes a worker that is still importing for a dead one.
    patient = ["--workers", "2", "--uvicorn-opts", "--timeout-worker-healthcheck 20"]
    # gunicorn prints a traceback of its own where two workers end at the same moment.
    gunicorn = ["--workers", "1", "--gunicorn-opts", "--timeout 60"]

    def run(options: list[str], **more: str) -> str:
        process = subprocess.Popen(
            [*start, "--port", str(free_port()), *options],
            env={**os.environ, **WITHOUT_JOBS, "PYTHONWARNINGS": "ignore", "HOME": str(tmp_path), **more},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            said = process.communicate(timeout=400)[1]
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
        assert "Traceback" not in said
        return said

    with ThreadPoolExecutor(2) as together:
        with_gunicorn = together.submit(run, gunicorn)
        without_key = together.submit(run, patient, TIMELAPSE_INNER_APP="basic-auth")
        assert "timelapse: '--app-name timelapse' needs uvicorn" in with_gunicorn.result()
        assert "timelapse: A static secret key needs to be set" in without_key.result()
