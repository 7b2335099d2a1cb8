"""Where a person finds a run: its page, and the command that shows it."""

from __future__ import annotations

import os
from pathlib import Path

from timelapse.config.redact import without_credentials

_URI_OF_THE_SHELL = os.environ.get("MLFLOW_TRACKING_URI")
"""What the person's shell has set, too. Later it proves nothing: `mlflow.set_tracking_uri` writes it."""


def run_link(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page; for a local store, with the command that serves it."""
    place = f"#/experiments/{experiment_id}/runs/{run_id}"
    if tracking_uri.startswith(("http://", "https://")):
        return f"{without_credentials(tracking_uri).rstrip('/')}/{place}"
    return f"http://127.0.0.1:5000/{place} (served by: timelapse ui{_place_option(tracking_uri)})"


def show_command(tracking_uri: str, run_id: str) -> str:
    """Return the command that shows a run in the terminal, typed in the folder of the training."""
    return f"timelapse show {run_id[:8]}{_place_option(tracking_uri)}"


def _place_option(tracking_uri: str) -> str:
    """Return the option that a command needs in order to find a store, if it would not by itself."""
    if is_default_place(tracking_uri) or tracking_uri == _URI_OF_THE_SHELL:
        return ""
    return f" --tracking-uri {without_credentials(tracking_uri)}"


def is_default_place(tracking_uri: str) -> bool:
    """Return whether MLflow uses this store by itself when it is started in this folder."""
    return tracking_uri == f"sqlite:///{Path.cwd() / 'mlflow.db'}"
