"""The data behind the pages, as an HTTP API: `build` makes it, over whatever MLflow app it is given."""

from timelapse_plugins.api.app import build

__all__ = ["build"]
