"""Starting: which app is wrapped, what the environment may say, and what ends the server at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mlflow.exceptions import MlflowException

from timelapse.errors import ConfigError
from timelapse_plugins.app import MLFLOWS_OWN, build_app, create_app, inner_target, load_inner, may_remember
from timelapse_plugins.settings import ServerSettings, read_settings

# Of MLflow's, when it is first imported.
pytestmark = pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated")

IMPORTS_NOTHING = """
import sys
before = set(sys.modules)
import types
import timelapse_plugins.app as app
assert isinstance(app.create_app, types.FunctionType)
loaded = {name.partition(".")[0] for name in sys.modules}
heavy = {"mlflow", "fastapi", "starlette", "flask", "pyarrow"} & loaded
assert not heavy, heavy
"""


def test_inner_apps_are_found_by_name() -> None:
    assert inner_target(None) == MLFLOWS_OWN
    assert inner_target("basic-auth") == "mlflow.server.auth:create_app"


@pytest.mark.parametrize(("name", "why"), [("basic_auth", "names no app"), ("timelapse", "is this very app")])
def test_an_unknown_inner_app_is_told_which_there_are(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"TIMELAPSE_INNER_APP={name} {why}.*There are: basic-auth"):
        inner_target(name)


def test_what_is_no_app_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no_such_module:app .*cannot be loaded: No module named"):
        load_inner("no_such_module:app")
    with pytest.raises(ConfigError, match=r"mlflow.server:app .*is no ASGI app"):
        load_inner("mlflow.server:app")


def test_only_apps_that_we_know_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.server import auth

    basic = inner_target("basic-auth")
    assert may_remember(MLFLOWS_OWN)
    assert may_remember(basic)
    custom = auth.auth_config._replace(authorization_function="some.company:authorise")
    monkeypatch.setattr(auth, "auth_config", custom)
    assert not may_remember(basic), "who knows what it looks at?"
    assert not may_remember("some.company:create_app")


@pytest.mark.parametrize("kind", ["gunicorn", "waitress"])
def test_other_servers_are_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"needs uvicorn.*without '--{kind}-opts'"):
        build_app(ServerSettings.model_validate({"_MLFLOW_SGI_NAME": kind}))


def test_a_wrong_setting_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMELAPSE_PERMISSION_SECONDS", "soon")
    monkeypatch.setenv("TIMELAPSE_MLFLOW_UI", "no")
    with pytest.raises(ConfigError) as error:
        read_settings()
    assert "TIMELAPSE_PERMISSION_SECONDS is 'soon', but must be a number of seconds from 0" in str(
        error.value
    )
    assert "TIMELAPSE_MLFLOW_UI is 'no', but must be 'on' or 'off'" in str(error.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (read_settings().permission_seconds, read_settings().mlflow_ui) == (30, "on")
    for name, value in {
        "TIMELAPSE_PERMISSION_SECONDS": "0",
        "TIMELAPSE_MLFLOW_UI": "OFF",
        "TIMELAPSE_INNER_APP": "basic-auth",
        "_MLFLOW_STATIC_PREFIX": "/ml/",
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "none",
    }.items():
        monkeypatch.setenv(name, value)
    found = read_settings()
    assert (found.permission_seconds, found.mlflow_ui, found.inner_app) == (0, "off", "basic-auth")
    assert (found.static_prefix, found.frame_options) == ("/ml", "NONE")


def test_the_factory_says_one_line_and_tells_the_supervisor_to_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TIMELAPSE_INNER_APP", "nobody")
    with pytest.raises(SystemExit) as stopped:
        create_app()
    assert stopped.value.code == 3
    assert capsys.readouterr().err.startswith("timelapse: TIMELAPSE_INNER_APP=nobody names no app")


@pytest.mark.parametrize(("token", "warned"), [("", True), ("a secret", False)])
def test_jobs_under_basic_auth_need_a_token(
    token: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_FLASK_SERVER_SECRET_KEY", raising=False)
    for name, value in {
        "_MLFLOW_HUEY_STORAGE_PATH": "/jobs",
        "_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN": token,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(MlflowException, match="A static secret key"):  # of the inner app: it goes no further
        build_app(ServerSettings(inner_app="basic-auth"))
    assert ("judges that run as jobs cannot log in" in capsys.readouterr().err) is warned


def test_importing_the_module_does_nothing() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS_NOTHING], check=True)
