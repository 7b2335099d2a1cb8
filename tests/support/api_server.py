"""MLflow's own server app with our API mounted before it, as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from servers import Server, app_environment, free_port, is_healthy

MOUNTED = "/timelapse/api/v1"


class ApiServer(Server):
    """The app under uvicorn with one worker, over sqlite and files in a folder."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.api = self.uri + MOUNTED
        command = [sys.executable, "-W", "ignore", "-m", "uvicorn", "--factory", "api_server:app"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        settings = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
            **app_environment(folder, backend),
        }
        super().__init__(folder, command, env=settings)

    def is_up(self) -> bool:
        return is_healthy(self.uri)


def app() -> object:
    """Return the app; uvicorn calls this."""
    from mlflow.server.fastapi_app import app as mlflow_app
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from timelapse_plugins.api import build
    from timelapse_plugins.inner import InProcess

    return Starlette(routes=[Mount(MOUNTED, build(InProcess(mlflow_app))), Mount("/", mlflow_app)])
