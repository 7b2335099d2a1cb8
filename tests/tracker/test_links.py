"""Links lead somewhere, and never hold a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from timelapse import links
from timelapse.links import run_link, show_command

RUN = "0123456789abcdef"


def test_a_server_has_a_page_and_loses_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = "https://ada:secret@mlflow.example:8443/prefix/"
    assert run_link(uri, "7", RUN) == f"https://mlflow.example:8443/prefix/#/experiments/7/runs/{RUN}"
    assert show_command(uri, RUN) == (
        "timelapse show 01234567 --tracking-uri https://mlflow.example:8443/prefix/"
    )


def test_the_default_store_needs_no_more_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    default = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert run_link(default, "1", RUN).endswith(f"/#/experiments/1/runs/{RUN} (served by: timelapse ui)")
    assert show_command(default, RUN) == "timelapse show 01234567"
    other = "sqlite:////elsewhere/mlflow.db"
    assert run_link(other, "1", RUN).endswith(f"(served by: timelapse ui --tracking-uri {other})")
    assert show_command(other, RUN) == f"timelapse show 01234567 --tracking-uri {other}"


def test_a_store_that_a_script_has_set_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    other = "sqlite:////elsewhere/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)  # mlflow.set_tracking_uri does that
    assert run_link(other, "1", RUN).endswith(f"(served by: timelapse ui --tracking-uri {other})")
    assert show_command(other, RUN) == f"timelapse show 01234567 --tracking-uri {other}"
    here = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert run_link(here, "1", RUN).endswith("(served by: timelapse ui)")


def test_a_store_that_the_shell_has_set_needs_no_more_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    other = "sqlite:////elsewhere/mlflow.db"
    monkeypatch.setattr(links, "_URI_OF_THE_SHELL", other)
    assert show_command(other, RUN) == "timelapse show 01234567"
    assert run_link(other, "1", RUN).endswith("(served by: timelapse ui)")
