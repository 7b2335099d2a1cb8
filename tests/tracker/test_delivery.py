"""Delivery against servers that hang, refuse, or fail in ways of their own; with MLflow's real client."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import mlflow
import pytest

from timelapse.errors import TimelapseWarning
from timelapse.fence import Fence
from timelapse.writing.client import is_outage, is_refusal, polite_requests
from timelapse.writing.delivery import FIRST_PAUSE_SECONDS, Delivery


@pytest.fixture
def black_hole(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that takes every connection and never answers."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_hanging_server_costs_one_time_out_and_then_a_growing_pause(black_hole: str) -> None:
    fence = Fence()
    delivery = Delivery(mlflow.MlflowClient(black_hole), "0" * 32, fence)
    started = time.monotonic()
    with pytest.warns(TimelapseWarning, match="Sending to MLflow failed: tagging") as warned:
        for number in range(50):
            delivery.send("tagging", lambda client, run, n=number: client.set_tag(run, "n", n))  # type: ignore[misc]
        assert len(fence.failures) == 1, "the other 49 wait without a request"
        assert time.monotonic() - started < 10
        delivery.flush(now=True)
        assert len(fence.failures) == 2
    assert len(warned) == 1
    assert delivery._pause == 4 * FIRST_PAUSE_SECONDS


def test_what_is_refused_or_fails_by_itself_does_not_hold_up_the_rest(tracking: mlflow.MlflowClient) -> None:
    run_id = tracking.create_run("0").info.run_id
    fence, calls = Fence(), []

    def broken(client: mlflow.MlflowClient, run: str) -> None:
        calls.append(run)
        raise ValueError("a bug of our own")

    delivery = Delivery(tracking, run_id, fence)
    with pytest.warns(TimelapseWarning) as warned:
        delivery.send("naming", lambda client, run: client.log_param(run, "", "x"))
        delivery.send("breaking", broken)
        delivery.send("tagging", lambda client, run: client.set_tag(run, "reached", "yes"))
        for _ in range(3):
            delivery.flush(now=True)
    assert len(calls) == 3
    assert tracking.get_run(run_id).data.tags["reached"] == "yes"
    texts = [str(warning.message) for warning in warned]
    assert texts[0].startswith("Naming failed: MlflowException: ")
    assert texts[0].endswith("It is not sent. The training goes on.")
    assert any(text.startswith("Breaking failed: ValueError: a bug of our own") for text in texts)


def test_errors_are_told_apart() -> None:
    class AnswerError(Exception):
        def __init__(self, status: int) -> None:
            self.response = type("Response", (), {"status_code": status})()

    assert is_refusal(AnswerError(404))
    assert is_refusal(AnswerError(413))
    assert is_outage(AnswerError(503))
    assert is_outage(AnswerError(429))
    assert not is_refusal(AnswerError(429))
    assert is_outage(ConnectionResetError())
    assert not is_outage(FileNotFoundError())
    assert not is_outage(ValueError())
    assert not is_refusal(ValueError())


def test_settings_of_the_user_are_kept_and_ours_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    with polite_requests():
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ
