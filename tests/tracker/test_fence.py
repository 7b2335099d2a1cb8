"""The fence: failures stay inside, are said once, and the next thing succeeds."""

from __future__ import annotations

import sys

import pytest

from timelapse.errors import TimelapseWarning
from timelapse.fence import Fence, attempt, describe
from timelapse.provenance import command_line


def test_a_failure_is_said_once_and_kept() -> None:
    fence = Fence()
    with pytest.warns(TimelapseWarning) as warned:
        for number in (1, 2):
            with fence.guard("storing the round", "The training goes on."):
                raise ValueError(f"bad\n number {number}")
    assert [str(warning.message) for warning in warned] == [
        "Storing the round failed: ValueError: bad number 1. The training goes on."
    ]
    assert fence.failures == [
        "storing the round: ValueError: bad number 1",
        "storing the round: ValueError: bad number 2",
    ]


def test_what_the_user_does_passes() -> None:
    with pytest.raises(KeyboardInterrupt), Fence().guard("anything", ""):
        raise KeyboardInterrupt
    with pytest.raises(SystemExit), Fence().guard("anything", ""):
        raise SystemExit(3)


def test_a_warning_never_raises() -> None:
    with Fence().guard("anything", "Nothing happens."):  # warnings are errors in these tests
        raise ValueError("bad")


def test_attempt_returns_the_result_or_the_error() -> None:
    assert attempt(lambda: 3) == (3, None)
    result, error = attempt(lambda: 1 // 0)
    assert result is None
    assert describe(error) if error else None == "ZeroDivisionError: integer division or modulo by zero"


def test_a_description_is_one_bounded_line() -> None:
    assert describe(ValueError("a\n\n  b")) == "ValueError: a b"
    assert describe(ValueError()) == "ValueError"
    assert len(describe(ValueError("x" * 2000))) == len("ValueError: ") + 500


def test_a_description_shows_no_password() -> None:
    error = ConnectionError("cannot reach http://bob:hunter2@host:5000/api, token=hunter2")
    assert describe(error) == "ConnectionError: cannot reach http://***@host:5000/api, token=***"
    cut = describe(ValueError("x" * 485 + " http://bob:hunter2" + "y" * 50 + "@host"))
    assert "hunter2" not in cut
    with pytest.warns(TimelapseWarning, match=r"http://\*\*\*@host"), Fence().guard("sending", ""):
        raise error


def test_an_error_that_quotes_a_secret_of_the_environment_is_told_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOB_TOKEN", "4711")  # short, and without any look of a secret
    monkeypatch.setenv("ACME_API_KEY", "plain words")
    monkeypatch.setenv("PWD", "/home/ada")  # a folder, although PWD is short for a password elsewhere
    error = RuntimeError("login with 4711 and plain words failed in /home/ada")
    assert describe(error) == "RuntimeError: login with *** and *** failed in /home/ada"
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "--how", "4711"])
    assert command_line() == "python train.py --how ***"
