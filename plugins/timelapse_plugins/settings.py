"""What whoever runs the server sets by environment variables."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from timelapse.errors import ConfigError

ENV_PREFIX = "TIMELAPSE_"

_WHAT_TO_SET = {
    "permission_seconds": "a number of seconds from 0 (never remember) to 300",
    "mlflow_ui": "'on' or 'off'",
}


class ServerSettings(BaseSettings):
    """The settings of one worker, read from the environment when an object is made."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True)

    inner_app: str | None = Field(default=None, description="The `mlflow.app` that we stand before.")
    permission_seconds: float = Field(
        default=30, ge=0, le=300, description="How long a permission that MLflow gave is remembered."
    )
    mlflow_ui: Literal["on", "off"] = Field(default="on", description="Whether MLflow's pages get our tab.")
    static_prefix: str = Field(default="", validation_alias="_MLFLOW_STATIC_PREFIX")
    """Where MLflow is below its host, as `--static-prefix` says."""
    server_kind: str | None = Field(default=None, validation_alias="_MLFLOW_SGI_NAME")
    """The program that serves, as `mlflow server` has chosen it."""
    frame_options: str = Field(default="SAMEORIGIN", validation_alias="MLFLOW_SERVER_X_FRAME_OPTIONS")
    """MLflow's own header X-Frame-Options; NONE for no header."""

    @field_validator("mlflow_ui", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("static_prefix")
    @classmethod
    def _no_slash_at_its_end(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("frame_options")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()


def read_settings() -> ServerSettings:
    """Return the settings that hold now.

    Raises:
        ConfigError: A variable has a value that it cannot have. Names the variable.
    """
    try:
        return ServerSettings()
    except ValidationError as error:
        lines = [_explained(str(each["loc"][-1]), each["input"]) for each in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _explained(field: str, value: object) -> str:
    return (
        f"The environment variable {ENV_PREFIX}{field.upper()} is {value!r}, but must be "
        f"{_WHAT_TO_SET.get(field, 'a text')}: correct it, or unset it to have the default."
    )
