"""MLflow's server app twice in one process: as it is, and through our wrapper, each at a port of its own.

python benchmarks/twin_server.py BARE_PORT WRAPPED_PORT
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from servers import WITHOUT_JOBS, Server, app_environment, free_port, is_healthy

from timelapse_plugins.app import MLFLOWS_OWN, create_app, load_inner


class TwinServer(Server):
    """The process, with one worker, over sqlite and files in a folder.

    Two processes of the same program differ by up to six percent for as long as they live, so that only
    what is in one process can tell what a wrapper costs.
    """

    def __init__(self, folder: Path, backend: str) -> None:
        ports = [free_port(), free_port()]
        self.bare, self.wrapped = (f"http://127.0.0.1:{port}" for port in ports)
        settings = {**os.environ, **WITHOUT_JOBS, **app_environment(folder, backend)}
        super().__init__(folder, [sys.executable, "-W", "ignore", __file__, *map(str, ports)], env=settings)

    def is_up(self) -> bool:
        return is_healthy(self.bare) and is_healthy(self.wrapped)


async def serve(bare: int, wrapped: int) -> None:
    apps = {bare: load_inner(MLFLOWS_OWN), wrapped: create_app()}
    settings = {"host": "127.0.0.1", "log_level": "warning"}
    servers = [uvicorn.Server(uvicorn.Config(app, port=port, **settings)) for port, app in apps.items()]
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
