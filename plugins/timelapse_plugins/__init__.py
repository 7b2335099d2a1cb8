"""Timelapse inside MLflow's own server, through MLflow's plugin points."""

__all__: list[str] = []
