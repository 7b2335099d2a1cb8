"""`timelapse launch`: real launchers with real children, which end in every way, over a real store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from click.testing import CliRunner
from faults import FaultProxy
from servers import MlflowServer
from tiny import make_llama, make_tokenizer

from timelapse import load_predictions, names
from timelapse.cli.sync import sync as sync_command
from timelapse_training.cli.launch import launch as launch_command

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SECONDS = 120
TOKEN = "job-token-4711-abcdef"

TELLS = """
import json, os, pathlib, sys, time
told = {key: os.environ.get(key) for key in ("MLFLOW_RUN_ID", "JOB_ID", "JOB_USER_ID", "JOB_TOKEN")}
told |= {"group": os.getpgrp(), "process": os.getpid()}
pathlib.Path(sys.argv[1]).write_text(json.dumps(told))
print("an answer on stdout")
print("a warning on stderr", file=sys.stderr)
while not pathlib.Path(sys.argv[1] + ".go").exists():
    time.sleep(0.02)
"""
FAILS = """
import sys
for number in range(30):
    print("line", number)
sys.exit("RuntimeError: the loss is not a number")
"""
WAITS = """
import os, pathlib, signal, subprocess, sys, time
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
worker = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"])
pathlib.Path(sys.argv[1] + ".worker").write_text(str(worker.pid))
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
print("waiting", flush=True)
time.sleep(300)
"""
LEAVES = """
import subprocess, sys
subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)"])
print("done")
"""
DETACHES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    time.sleep(20)
    os._exit(0)
sys.stdout.write("the first line\\nno end of the line")
"""
LEAKS = """
import os, sys
print("the token is", os.environ["JOB_TOKEN"])
print(os.environ["PLACE"], "and its password: hunter2secret")
print("key sk-abc123def456ghi789", file=sys.stderr)
print("provider said: acme-key-0815", file=sys.stderr)
print("-----BEGIN PRIVATE KEY-----\\nMIIBVgIBADANBgkqhkiG9w0BAQ\\n-----END PRIVATE KEY-----\\nthe end")
sys.exit(1)
"""
TRAINS = """
import os, pathlib, signal, sys, time
from timelapse import Prediction, Round, Sample, SampleSet, start_run
samples = SampleSet(tuple(Sample(({"role": "user", "content": verb},), verb) for verb in ("go", "sing")))
with start_run() as run:
    run.log_samples(samples)
    for step in (0, 1):
        run.log_round(Round(step, tuple(Prediction(s.sample_id, "sing") for s in samples), seconds=1.0))
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    if "killed" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    if "exits" in sys.argv:
        os._exit(3)
    if "raises" in sys.argv:
        raise ValueError("the loss is not a number")
    time.sleep(300)
"""


@dataclass
class Launched:
    """A launcher at work."""

    place: Place
    name: str
    process: int

    def wait(self) -> int:
        return self.place.ask({"wait": self.process}, "code")

    def marker(self) -> Path:
        """Return the file that the child writes, once it is there."""
        path = self.place.folder / self.name
        until(lambda: path.exists() and bool(path.read_text()), self.said)
        return path

    def said(self) -> str:
        return "".join((self.place.folder / f"{self.name}.{kind}").read_text() for kind in ("out", "err"))


@dataclass
class Place:
    """A folder with a store, a spool, and a template of launchers."""

    folder: Path
    uri: str
    template: subprocess.Popen[str]

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri)

    def ask(self, request: dict[str, Any], wanted: str) -> int:
        """Return the number that answers a request; one to an earlier request must not be taken for it."""
        assert self.template.stdin is not None
        assert self.template.stdout is not None
        self.template.stdin.write(json.dumps(request) + "\n")
        self.template.stdin.flush()
        kind, number = self.template.stdout.readline().split()
        assert kind == wanted, f"the template of launchers is out of step: {kind} {number}"
        return int(number)

    def launch(
        self,
        name: str,
        script: str,
        *words: str,
        uri: str | None = None,
        light: bool = True,
        environment: dict[str, str] | None = None,
        **arguments: Any,
    ) -> Launched:
        """Launch a script as the child; its runs are in an experiment of its name (without `-…`)."""
        config = {
            "model": "m",
            "data": {"train": "train.jsonl"},
            "tracking": {"experiment": name.partition("-")[0], "uri": uri or self.uri},
            "provider": {"api_key": "acme-key-0815"},
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
        (self.folder / f"{name}.py").write_text(script)
        flags = ["-I", "-S"] if light else []
        command = [sys.executable, *flags, str(self.folder / f"{name}.py"), str(self.folder / name), *words]
        request = {"name": name, "config": f"{name}.yaml", "environment": environment or {}}
        return Launched(self, name, self.ask({"command": command, **request, **arguments}, "process"))

    def runs(self, experiment: str) -> list[Any]:
        found = self.client.get_experiment_by_name(experiment)
        assert found is not None
        return list(self.client.search_runs([found.experiment_id], order_by=["attributes.start_time"]))

    def log(self, run: Any) -> str:
        file = f"{names.ARTIFACT_FOLDER}/{names.LAUNCH_LOG_FILE}"
        with mlflow_at(self.uri):
            return mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/{file}")

    def spool(self) -> list[Path]:
        root = self.folder / "spool"
        return sorted(root.iterdir()) if root.exists() else []


class mlflow_at:  # noqa: N801 - reads as a function
    def __init__(self, uri: str) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        self.before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self.uri)

    def __exit__(self, *error: object) -> None:
        mlflow.set_tracking_uri(self.before)


def until(true: Callable[[], object], otherwise: Callable[[], object] = lambda: "") -> None:
    deadline = time.monotonic() + LONGEST_SECONDS
    while not true():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Return whether any thread of a process runs; one that is dead and not yet waited for does not.

    A process whose main thread is dead is a zombie already, and holds its locks until the last thread is.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        return any(map(runs, Path(f"/proc/{process}/task").iterdir()))
    return False


def runs(task: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return (task / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def how(run: Any) -> tuple[str, str | None]:
    return run.info.status, run.data.tags.get(names.TAG_STATUS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("launch")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "train.jsonl").write_text('{"question": "go", "answer": "went"}\n')
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "TIMELAPSE", "JOB_"))
    }
    ours = {
        "TIMELAPSE_SPOOL": str(folder / "spool"),
        "TIMELAPSE_CLOSE_SECONDS": "2",
        "JOB_TOKEN": TOKEN,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, str(ROOT / "tests" / "support" / "launchers.py"), str(folder)]
    with subprocess.Popen(
        command, cwd=folder, env=kept | ours, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as template:
        assert template.stdout is not None
        assert template.stdout.readline() == "warm\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIMELAPSE_SPOOL", str(folder / "spool"))
            yield Place(folder, f"sqlite:///{folder / 'mlflow.db'}", template)


def test_the_run_is_there_before_the_child_and_ends_with_it(place: Place) -> None:
    launched = place.launch("success", TELLS, job_id="42", user="")
    told = json.loads(launched.marker().read_text())
    [run] = place.runs("success")
    assert (run.info.status, run.info.run_id) == ("RUNNING", told["MLFLOW_RUN_ID"])
    assert (told["JOB_ID"], told["JOB_USER_ID"], told["JOB_TOKEN"]) == ("42", None, TOKEN)
    assert told["group"] == told["process"], "a process group of its own"
    until(lambda: "a warning on stderr" in launched.said())  # live: the child waits for us
    (place.folder / "success.go").touch()
    assert launched.wait() == 0
    [run] = place.runs("success")
    assert how(run) == ("FINISHED", None)
    assert run.data.tags[names.TAG_JOB] == "42"
    assert names.TAG_JOB_USER not in run.data.tags
    assert names.TAG_LOG_TAIL not in run.data.tags
    assert sorted(place.log(run).splitlines()) == ["a warning on stderr", "an answer on stdout"]
    assert (place.folder / "success.out").read_text() == "an answer on stdout\n"
    assert f"runs/{run.info.run_id}" in (place.folder / "success.err").read_text()
    assert place.spool() == []


def test_a_failing_child_leaves_its_last_lines(place: Place) -> None:
    launched = place.launch("fails", FAILS, job_id="7", user="ada")
    assert launched.wait() == 1
    [run] = place.runs("fails")
    assert how(run) == ("FAILED", "failed: the training ended with exit code 1")
    tail = run.data.tags[names.TAG_LOG_TAIL].splitlines()
    assert len(tail) == 20
    assert "RuntimeError: the loss is not a number" in tail
    assert tail.index("line 29") == tail.index("line 28") + 1
    assert run.data.tags[names.TAG_JOB_USER] == "ada"
    assert "line 0\nline 1\n" in place.log(run)


def test_a_child_that_tells_its_error_is_believed(place: Place) -> None:
    launched = place.launch("raises", TRAINS, "raises", light=False)
    assert launched.wait() == 1, launched.said()
    [run] = place.runs("raises")
    assert how(run) == ("FAILED", "failed: ValueError: the loss is not a number")
    assert run.data.tags[names.TAG_LOG_TAIL].endswith("ValueError: the loss is not a number")
    assert set(load_predictions(run.info.run_id, tracking_uri=place.uri)["step"]) == {0, 1}


@pytest.mark.parametrize(
    ("how_it_dies", "exit_code", "expected"),
    [
        ("killed", 137, ("KILLED", "failed: SIGKILL: somebody killed the training, or it ran out of memory")),
        ("exits", 3, ("FAILED", "failed: the training ended with exit code 3")),
    ],
)
def test_the_rounds_of_a_child_that_is_gone_at_once_are_sent(
    place: Place, how_it_dies: str, exit_code: int, expected: tuple[str, str]
) -> None:
    launched = place.launch(how_it_dies, TRAINS, how_it_dies, light=False)
    assert launched.wait() == exit_code, launched.said()
    [run] = place.runs(how_it_dies)
    assert how(run) == expected
    assert set(load_predictions(run.info.run_id, tracking_uri=place.uri)["step"]) == {0, 1}
    assert place.spool() == []


def test_a_child_that_cannot_be_started(place: Place) -> None:
    launched = place.launch("nothing", "", command=["/no/such/program"])
    assert launched.wait() == 127
    [run] = place.runs("nothing")
    assert how(run) == ("FAILED", "failed: the training ended with exit code 127")
    assert "/no/such/program cannot be started" in run.data.tags[names.TAG_LOG_TAIL]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_reaches_the_childs_whole_group(place: Place, name: str) -> None:
    launched = place.launch(name, WAITS)
    child = int(launched.marker().read_text())
    worker = int((place.folder / f"{name}.worker").read_text())
    os.kill(launched.process, signal.Signals[name])
    assert launched.wait() == 128 + signal.Signals[name]
    assert not is_alive(child)
    until(lambda: not is_alive(worker))
    [run] = place.runs(name)
    assert how(run) == ("KILLED", f"failed: {name}")
    assert place.log(run).startswith("waiting\n")


def test_a_deaf_child_is_killed_when_its_time_is_up(place: Place) -> None:
    launched = place.launch("deaf", WAITS, "deaf", grace=0.5)
    launched.marker()
    os.kill(launched.process, signal.SIGTERM)
    assert launched.wait() == 137
    [run] = place.runs("deaf")
    assert how(run) == ("KILLED", "failed: SIGTERM, then SIGKILL")
    assert "0.5 s after SIGTERM, the training is killed" in place.log(run)


def test_a_second_signal_kills_a_deaf_child(place: Place) -> None:
    launched = place.launch("impatient", WAITS, "deaf", grace=1000)
    child = int(launched.marker().read_text())
    for _ in range(2):  # at once: the same wish
        os.kill(launched.process, signal.SIGINT)
    time.sleep(1.5)
    assert is_alive(child)
    os.kill(launched.process, signal.SIGINT)
    assert launched.wait() == 137
    assert how(place.runs("impatient")[0]) == ("KILLED", "failed: SIGINT, then SIGKILL")


def test_what_a_child_leaves_behind_does_not_hold_up_the_end(place: Place) -> None:
    launched = place.launch("leaves", LEAVES)
    assert launched.wait() == 0
    assert how(place.runs("leaves")[0]) == ("FINISHED", None)


def test_a_daemon_outside_the_group_loses_no_line_of_the_child(place: Place) -> None:
    assert place.launch("daemon", DETACHES).wait() == 0
    [run] = place.runs("daemon")
    assert how(run)[0] == "FINISHED"
    assert place.log(run) == "the first line\nno end of the line\n"


def test_a_launcher_that_fails_itself_ends_child_and_run(place: Place) -> None:
    launched = place.launch("itself", WAITS, fails=True)
    child = int(launched.marker().read_text())
    assert launched.wait() == 1
    assert not is_alive(child)
    [run] = place.runs("itself")
    assert how(run) == ("FAILED", "failed: the launcher has failed: ZeroDivisionError: division by zero")
    assert "the launcher itself has failed" in run.data.tags[names.TAG_LOG_TAIL]


def test_no_secret_is_stored(place: Place) -> None:
    launched = place.launch(
        "leaks", LEAKS, environment={"PLACE": "postgresql://ada:hunter2secret@db.example.com/x"}
    )
    assert launched.wait() == 1
    [run] = place.runs("leaks")
    log = place.log(run)
    assert "the token is ***" in log
    assert "***@db.example.com/x and its password: ***" in log
    assert "provider said: ***" in log
    assert log.endswith("the end\n") or "\nthe end\n" in log
    stored = json.dumps(run.to_dictionary())
    files = place.client.download_artifacts(run.info.run_id, "", str(place.folder))
    stored += "".join(path.read_text() for path in Path(files).rglob("*.log"))
    stored += "".join(path.read_text() for path in place.folder.glob("spool/*/*") if path.is_file())
    for secret in (
        TOKEN,
        "hunter2secret",
        "sk-abc123def456ghi789",
        "acme-key-0815",
        "MIIBVgIBADANBgkqhkiG9w0BAQ",
    ):
        assert secret not in stored, secret
    assert names.TAG_LOG_TAIL in run.data.tags


def test_a_killed_launcher_takes_its_child_along_and_the_next_launch_ends_the_run(place: Place) -> None:
    launched = place.launch("gone", WAITS, job_id="g1")
    child = int(launched.marker().read_text())
    os.kill(launched.process, signal.SIGKILL)
    assert launched.wait() == -signal.SIGKILL
    until(lambda: not is_alive(child))
    os.kill(int((place.folder / "gone.worker").read_text()), signal.SIGKILL)
    [run] = place.runs("gone")
    assert run.info.status == "RUNNING", "nobody could end it"

    refused = place.launch("gone-again", TELLS, job_id="g1")
    assert refused.wait() == 1
    assert f"'{run.info.run_name}' ({run.info.run_id}), KILLED." in refused.said()
    [run] = place.runs("gone")
    assert run.info.status == "KILLED"
    assert str(run.data.tags[names.TAG_STATUS]).startswith("failed: the process that trained ended")


def test_a_killed_launchers_training_ends_its_run_itself(place: Place) -> None:
    launched = place.launch("torn", TRAINS, light=False, job_id="t1")
    child = int(launched.marker().read_text())
    os.kill(launched.process, signal.SIGKILL)
    assert launched.wait() == -signal.SIGKILL
    until(lambda: not is_alive(child))  # it has a few seconds to say its end, and the spool keeps the rest
    result = CliRunner().invoke(sync_command, ["--tracking-uri", place.uri])
    assert result.exit_code == 0, result.output
    [run] = place.runs("torn")
    assert how(run) == ("KILLED", "failed: SIGTERM"), result.output
    assert set(load_predictions(run.info.run_id, tracking_uri=place.uri)["step"]) == {0, 1}
    assert place.spool() == []


def test_sync_ends_the_run_of_a_killed_launcher(place: Place) -> None:
    launched = place.launch("synced", WAITS)
    child = int(launched.marker().read_text())
    os.kill(launched.process, signal.SIGKILL)
    assert launched.wait() == -signal.SIGKILL
    until(lambda: not is_alive(child))
    os.kill(int((place.folder / "synced.worker").read_text()), signal.SIGKILL)
    result = CliRunner().invoke(sync_command, ["--tracking-uri", place.uri])
    assert result.exit_code == 0, result.output
    assert place.runs("synced")[0].info.status == "KILLED"


def test_a_second_launch_of_a_job_is_refused_or_goes_on_in_its_run(place: Place) -> None:
    first = place.launch("twice", TELLS, job_id="one of two")
    first.marker()
    [run] = place.runs("twice")
    for asked in ("refuse", "attach"):  # the first is still at work
        second = place.launch("twice-live", TELLS, job_id="one of two", if_exists=asked)
        assert second.wait() == 1
        assert "is at work on this machine. Wait for its end, or stop it." in second.said()
        assert run.info.run_id in second.said()
    os.kill(first.process, signal.SIGTERM)
    assert first.wait() == 143
    assert names.TAG_LOG_TAIL in place.runs("twice")[0].data.tags

    refused = place.launch("twice-over", TELLS, job_id="one of two")
    assert refused.wait() == 1
    assert "Go on in it with --if-exists attach, or give another --job-id." in refused.said()
    assert not (place.folder / "twice-over").exists(), "nothing was started"

    third = place.launch("twice-more", TELLS, job_id="one of two", if_exists="attach", user="bob")
    told = json.loads(third.marker().read_text())
    assert told["MLFLOW_RUN_ID"] == run.info.run_id
    assert place.runs("twice")[0].info.status == "RUNNING"
    (place.folder / "twice-more.go").touch()
    assert third.wait() == 0
    [run] = place.runs("twice")
    assert how(run) == ("FINISHED", None)
    assert names.TAG_LOG_TAIL not in run.data.tags
    assert run.data.tags[names.TAG_JOB_USER] == "bob"
    assert "an answer on stdout" in place.log(run)

    other = place.launch("twice-other", TELLS, job_id="two of two")
    other.marker()
    (place.folder / "twice-other.go").touch()
    assert other.wait() == 0
    assert len(place.runs("twice")) == 2


def test_an_mlflow_that_is_away_at_the_end_learns_of_it_later(
    place: Place, mlflow_server: MlflowServer
) -> None:
    with FaultProxy(mlflow_server.uri) as proxy:
        launched = place.launch("away", TELLS + "sys.exit(3)", uri=proxy.uri)
        told = json.loads(launched.marker().read_text())
        proxy.fault("refuse")
        (place.folder / "away.go").touch()
        assert launched.wait() == 3, launched.said()
        assert "`timelapse sync` sends it when MLflow can be reached" in launched.said()
        proxy.heal()
        result = CliRunner().invoke(sync_command, ["--tracking-uri", proxy.uri])
        assert result.exit_code == 0, result.output
    run = mlflow.MlflowClient(mlflow_server.uri).get_run(told["MLFLOW_RUN_ID"])
    assert how(run) == ("FAILED", "failed: the training ended with exit code 3")
    assert "an answer on stdout" in run.data.tags[names.TAG_LOG_TAIL]
    assert place.spool() == []


@pytest.fixture
def project(tracking: mlflow.MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tiny model, data, and a configuration of a training that is over in a second."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setenv("JOB_TOKEN", TOKEN)
    make_llama(initializer_range=0.1).save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    rows = [{"question": verb, "answer": past} for verb, past in (("go", "went"), ("be", "was"))]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "model": {"name": "model"},
        "data": {"train": "train.jsonl"},
        "training": {
            "output_dir": str(tmp_path / "out"),
            "num_train_epochs": 1,
            "logging_steps": 1,
            "save_strategy": "no",
            "arguments": {"disable_tqdm": True, "use_cpu": True},
        },
        "predictions": {"samples_path": "train.jsonl", "max_new_tokens": 4},
        "tracking": {"experiment": "verbs", "run_name": "tiny"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def the_runs(client: mlflow.MlflowClient) -> list[Any]:
    experiments = [each.experiment_id for each in client.search_experiments()]
    return list(client.search_runs(experiments))


@pytest.mark.timeout(600)
def test_the_real_training_is_launched(project: Path, tracking: mlflow.MlflowClient) -> None:
    result = CliRunner().invoke(
        launch_command, [str(project / "config.yaml"), "--job-id", "42", "--user", "ada", "--set", "seed=5"]
    )
    assert result.exit_code == 0, result.output
    [run] = the_runs(tracking)
    assert how(run) == ("FINISHED", "finished")
    assert run.info.run_name == "tiny"
    assert tracking.get_experiment(run.info.experiment_id).name == "verbs"
    assert (run.data.tags[names.TAG_JOB], run.data.tags[names.TAG_JOB_USER]) == ("42", "ada")
    assert run.data.params["timelapse.seed"] == "5"
    assert set(load_predictions(run.info.run_id)["step"]) == {0, 1}
    assert run.data.tags[names.TAG_MANIFEST] != "live"
    log = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/timelapse/launch.log")
    assert "2 rounds in run 'tiny'" in log
    assert "have no effect" not in log, "the run was made with that name, in that experiment"
    assert "2 rounds in run 'tiny'" in result.stdout
    assert "run 'tiny' is FINISHED" in result.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.learning_rate=fast"], "training.learning_rate"),
        (["data.train=nowhere.jsonl"], "data.train: there is no file"),
        (
            ["predictions.sample_count=101", "predictions.samples_path=null"],
            "MAX_SAMPLE_COUNT=101",
        ),
    ],
)
def test_a_mistake_is_told_before_any_run_is_made(
    project: Path, tracking: mlflow.MlflowClient, overrides: list[str], message: str
) -> None:
    from timelapse.errors import ConfigError

    settings = [word for override in overrides for word in ("--set", override)]
    result = CliRunner().invoke(launch_command, [str(project / "config.yaml"), *settings])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert the_runs(tracking) == []
    assert tracking.get_experiment_by_name("verbs") is None


@pytest.mark.timeout(600)
def test_mlflow_run_trains_in_the_run_that_mlflow_has_made(
    project: Path, tracking: mlflow.MlflowClient
) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local"),
            *("--experiment-name", "verbs", "-P", f"config={project / 'config.yaml'}", "-P", "set=seed=5"),
        ],
        cwd=project,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        check=True,
    )
    [run] = the_runs(tracking)
    assert how(run) == ("FINISHED", "finished")
    assert run.data.params["config"] == str(project / "config.yaml")
    assert (run.data.params["set"], run.data.params["timelapse.seed"]) == ("seed=5", "5")
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert set(load_predictions(run.info.run_id)["step"]) == {0, 1}


def test_the_example_is_a_project_too() -> None:
    from mlflow.projects._project_spec import load_project

    example = ROOT / "examples" / "verbs"
    main = load_project(str(example)).get_entry_point("main")
    assert main.compute_command({}, None) == "python -m timelapse.cli.main train config.yaml"
    assert (example / "config.yaml").is_file()
