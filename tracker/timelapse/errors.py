"""The errors and warnings that Timelapse raises: one tree, so that one `except` catches them all."""


class TimelapseError(Exception):
    """Base of every error of ours. Its message says what failed, why, and what to do."""


class SampleError(TimelapseError):
    """A samples file or data set cannot be read, or its format is not known."""


class ConfigError(TimelapseError):
    """A configuration is wrong. Names the field, what was expected, and what to do."""


class ScheduleError(ConfigError):
    """A schedule of rounds can never fire, or asks for what the training does not do."""


class RunError(TimelapseError):
    """A run cannot be found, opened or read."""


class ScorerError(TimelapseError):
    """A scorer cannot be had or has failed; its cells are marked with NaN."""


class SpoolError(TimelapseError):
    """The folder in which rounds wait for MLflow cannot be used, or what lies there cannot be read."""


class MissingExtraError(TimelapseError):
    """A part of Timelapse was asked for whose packages are not installed."""

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"This needs the package '{missing}', which is not installed. "
            f"Install it with: pip install 'mlflow-timelapse[{extra}]'"
        )


class TimelapseWarning(UserWarning):
    """Something went wrong that does not stop the training; the message says what happens now."""
