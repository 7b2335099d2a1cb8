"""Real servers for tests: MLflow, PostgreSQL and S3, each on 127.0.0.1 or a socket of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import psycopg2

START_SECONDS = 300
"""A machine that does much else takes four times as long; a server that cannot start ends by itself."""


WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Environment of an MLflow server without its job queue: it starts in a third of the time."""


def app_environment(folder: Path, backend: str) -> dict[str, str]:
    """Return what `mlflow server` tells its app by the environment: a store, and artifacts in a folder."""
    return {
        "_MLFLOW_SERVER_FILE_STORE": backend,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": (folder / "artifacts").as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }


class Server(AbstractContextManager["Server"]):
    """A server process in a group of its own, that can be killed and started again.

    As a context manager it runs inside the block, and is surely gone after it.
    """

    def __init__(self, folder: Path, command: list[str], **settings: object) -> None:
        self.folder, self.command, self.settings = folder, command, settings
        self.log = folder / f"{type(self).__name__}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def is_up(self) -> bool:
        """Whether the server answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start, and return when the server answers; what it has printed is in the error if it never does."""
        assert self.process is None, "it runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.settings,  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.command} does not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the server and its children at once, as a crash would; nothing if it does not run."""
        if self.process is not None:
            process, self.process = self.process, None
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, how)
            process.wait(timeout=START_SECONDS)

    def restart(self) -> None:
        """Kill the server, and start it again in the same place."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def is_healthy(uri: str) -> bool:
    """Whether MLflow's server answers."""
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=5).close()
    except OSError:
        return False
    return True


class MlflowServer(Server):
    """`mlflow server` with one worker, over sqlite and files in its folder unless `options` say otherwise."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        backend: str | None = None,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", backend or f"sqlite:///{folder / 'server.db'}"]
        command += options or ("--artifacts-destination", str(folder / "artifacts"))
        settings = {**os.environ, **WITHOUT_JOBS, **(environment or {})}
        super().__init__(folder, command, env=settings)

    def is_up(self) -> bool:
        return is_healthy(self.uri)


class PostgresServer(Server):
    """A throwaway PostgreSQL cluster that listens on a socket in its own private folder, and nowhere else."""

    def __init__(self) -> None:
        programs = postgres_programs()
        # Of its own, because the user that PostgreSQL runs as may not enter pytest's folders; and short,
        # because the path of a socket is at most 107 characters.
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        user = _postgres_user()
        if user:  # PostgreSQL refuses to run as root
            shutil.chown(folder, user)
        self.login = f"host={folder} user=postgres"
        self.uri = f"postgresql+psycopg2://postgres@/postgres?host={folder}"
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder)]
        command += ["-c", "listen_addresses=", "-c", "fsync=off"]
        super().__init__(folder, command, user=user)
        initdb = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)

    def is_up(self) -> bool:
        try:
            psycopg2.connect(self.login).close()
        except psycopg2.OperationalError:
            return False
        return True

    def __exit__(self, *error: object) -> None:
        self.kill(signal.SIGINT)  # PostgreSQL's "fast shutdown": it takes its children and memory along
        shutil.rmtree(self.folder)


class S3Server(Server):
    """`rclone serve s3` over a folder, with one bucket; it refuses a wrong secret, as S3 does."""

    BUCKET = "bucket"

    def __init__(self, folder: Path) -> None:
        (folder / "buckets" / self.BUCKET).mkdir(parents=True)
        self.port = free_port()
        self.environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # rclone does not know the newer ones
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }
        """What a client's environment must hold, in the names of boto3 and MLflow."""
        command = [str(Path(sys.executable).with_name("rclone")), "serve", "s3", "--auth-key", "key,secret"]
        command += ["--addr", f"127.0.0.1:{self.port}", str(folder / "buckets")]
        super().__init__(folder, command, env={**os.environ, "RCLONE_CONFIG": "/dev/null"})

    def uri(self, path: str) -> str:
        """Return the S3 address of a path in the bucket."""
        return f"s3://{self.BUCKET}/{path}"

    def is_up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgres_programs() -> Path:
    """Return the folder of `initdb` and `postgres`, the newest version's where there are several."""
    folders = [Path(path) for path in os.environ.get("PATH", "").split(os.pathsep)]
    number: Callable[[Path], float] = lambda path: float(path.parent.name)  # noqa: E731
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=number, reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise AssertionError("PostgreSQL is not installed: run tests/support/install.sh")


def _postgres_user() -> str | None:
    """Return the user to run PostgreSQL as: Debian's own if we are root, else ourselves (None)."""
    return "postgres" if os.geteuid() == 0 else None
