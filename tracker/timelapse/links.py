"""Where a person finds a run: its page, and the command that shows it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit


def without_credentials(uri: str) -> str:
    """Return a URI without the `user:password@` that it may hold."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def run_link(tracking_uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page; for a local store, the command that serves it."""
    uri = without_credentials(tracking_uri)
    if uri.startswith(("http://", "https://")):
        return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"
    return f"mlflow ui --backend-store-uri {uri}, then http://127.0.0.1:5000/#/experiments/{experiment_id}/runs/{run_id}"


def show_command(tracking_uri: str, run_id: str) -> str:
    """Return the command that shows a run in the terminal, typed in the folder of the training."""
    command = f"timelapse show {run_id[:8]}"
    found_by_itself = tracking_uri in (os.environ.get("MLFLOW_TRACKING_URI"), _default_store())
    return command if found_by_itself else f"{command} --tracking-uri {without_credentials(tracking_uri)}"


def _default_store() -> str:
    """Return the store that MLflow uses in this folder when nothing is configured."""
    return "sqlite:///mlflow.db"
