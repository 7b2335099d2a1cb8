"""Files fetched over one session: what is sent, to whom, and what is left to MLflow's own way."""

from __future__ import annotations

import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

from timelapse.polite import polite_requests
from timelapse.reading import ahead
from timelapse.reading.ahead import FilesAhead
from timelapse.reading.downloads import DirectDownloads
from timelapse.reading.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATH = "/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/timelapse/"


class Answers(ThreadingHTTPServer):
    """A server on 127.0.0.1 that gives prepared answers, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.elsewhere = ""


class _Handler(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        file = self.path.rpartition("/")[2]
        status = {"moved": 302, "refused": 403, "broken": 500}.get(file, 200)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.elsewhere)
        self.send_header("Content-Length", "99" if file == "short" else "4")
        self.end_headers()
        self.wfile.write(b"PAR1")

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    with Answers() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def store(uri: str, artifacts: str = "mlflow-artifacts:/1/run/artifacts") -> Any:
    return MlflowArtifactsRepository(artifacts, tracking_uri=uri)


def fetched(
    uri: str, *files: str, artifacts: str = "mlflow-artifacts:/1/run/artifacts"
) -> list[bytes | None]:
    downloads = DirectDownloads(uri, connections=2)
    with polite_requests(timeout=2):
        found = [downloads.get(store(uri, artifacts), f"timelapse/{file}") for file in files]
    downloads.close()
    return found


def test_a_file_is_fetched_with_one_request_for_it(answers: Answers) -> None:
    assert fetched(answers.uri, "a.parquet", "b c.parquet") == [b"PAR1", b"PAR1"]

    assert [path for path, _ in answers.asked] == [PATH + "a.parquet", PATH + "b%20c.parquet"]


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({}, None),
        ({"USERNAME": "ada", "PASSWORD": "secret"}, "Basic YWRhOnNlY3JldA=="),
        ({"TOKEN": "secret"}, "Bearer secret"),
        ({"USERNAME": "ada", "PASSWORD": "secret", "TOKEN": "other"}, "Basic YWRhOnNlY3JldA=="),
    ],
)
def test_what_is_sent_is_what_mlflow_sends(
    answers: Answers,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    sent: str | None,
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)

    fetched(answers.uri, "a.parquet")
    # The server does not know /server-info, which MLflow asks for first; it is told not to.
    monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "false")
    store(answers.uri)._download_file("timelapse/a.parquet", str(tmp_path / "file"))

    ours, theirs = answers.asked
    assert ours == theirs
    assert ours[1].get("Authorization") == sent


def test_credentials_that_stand_in_the_address_are_sent(answers: Answers) -> None:
    assert fetched(answers.uri.replace("//", "//ada:secret@"), "a.parquet") == [b"PAR1"]
    assert answers.asked[0][1]["Authorization"] == "Basic YWRhOnNlY3JldA=="


@pytest.mark.parametrize("file", ["moved", "refused", "broken", "short"])
def test_any_other_answer_is_left_to_mlflow(answers: Answers, file: str) -> None:
    answers.elsewhere = f"{answers.uri}/elsewhere"

    assert fetched(answers.uri, file, "a.parquet") == [None, b"PAR1"]
    assert [path for path, _ in answers.asked] == [PATH + file, PATH + "a.parquet"]


def test_another_host_is_never_asked(answers: Answers) -> None:
    elsewhere = f"mlflow-artifacts://127.0.0.1:{answers.server_port}/1/run/artifacts"

    assert fetched("http://localhost:1", "a.parquet", artifacts=elsewhere) == [None]
    assert answers.asked == []


def test_a_server_that_is_gone_is_left_to_mlflow() -> None:
    with Answers() as gone:
        uri = gone.uri

    assert fetched(uri, "a.parquet") == [None]


def test_credentials_that_sign_every_request_are_left_to_mlflow(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")

    assert fetched(answers.uri, "a.parquet", "b.parquet") == [None, None]
    assert answers.asked == []


def test_a_server_behind_a_proxy_is_left_to_mlflow(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", answers.uri)
    assert fetched("http://mlflow.example", "a.parquet") == [None]
    assert answers.asked == []

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert fetched(answers.uri, "a.parquet") == [b"PAR1"]


def test_only_so_many_files_are_begun_before_the_oldest_is_there() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            taken.append(item)
            yield item

    with Threads(4) as threads:
        results = threads.each(lambda item: item * 2, items(), ahead=5)
        assert next(results) == 0
        assert taken == list(range(6))
        assert list(results) == list(range(2, 40, 2))


def test_files_come_ahead_only_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "MOST_BYTES", 10)
    begun: list[int] = []

    def fetch(number: int) -> bytes:
        begun.append(number)
        return bytes([number]) * 8

    with FilesAhead() as files:
        takes = [files.expect(partial(fetch, number)) for number in range(12)]
        time.sleep(0.2)
        assert len(begun) <= ahead.FILES_AHEAD
        assert [take()[0] for take in takes[:10]] == list(range(10))
        time.sleep(0.1)  # the block is left while two are held, or wait for room
    assert len(begun) >= 11


def test_what_went_wrong_ahead_is_said_where_it_is_wanted() -> None:
    def fetch() -> bytes:
        raise OSError("gone")

    with FilesAhead() as files:
        take = files.expect(fetch)
        with pytest.raises(OSError, match="gone"):
            take()
