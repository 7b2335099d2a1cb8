"""The uploader: who has the right of way beside a thread that logs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from timelapse.fence import Fence
from timelapse.scoring.engine import Judges
from timelapse.writing import uploader as module
from timelapse.writing.delivery import Delivery
from timelapse.writing.spool import Header, Spool
from timelapse.writing.uploader import Uploader


@pytest.fixture
def uploader(tmp_path: Path) -> Uploader:
    spool = Spool.create(Header("r", None, owned=False, start_time=0), tmp_path / "spool")
    return Uploader(Delivery(spool, MlflowClient("http://127.0.0.1:9"), Judges(), Fence()), Fence())


def pacing(uploader: Uploader) -> threading.Thread:
    """Return a thread that asks whether it may go on with judging."""
    thread = threading.Thread(target=uploader.pace, args=(0.0,), daemon=True)
    thread.start()
    return thread


def test_judging_stands_back_while_a_round_is_logged(
    uploader: Uploader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_REST_SECONDS", 60.0)
    with uploader.right_of_way():
        with uploader.right_of_way():
            pass
        thread = pacing(uploader)
        thread.join(0.3)
        assert thread.is_alive(), "another thread logs, or a signal handler within this one"
    thread.join(10)
    assert not thread.is_alive()


def test_a_log_call_that_hangs_on_its_disk_does_not_end_the_sending(uploader: Uploader) -> None:
    with uploader.right_of_way():
        thread = pacing(uploader)
        thread.join(10)
        assert not thread.is_alive()
