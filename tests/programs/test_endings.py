"""However a program ends, its runs end too: real processes that crash, are killed, or just stop.

Importing MLflow takes seconds. So one process makes the imports and then forks once for each program; a
program is top-level code, as in a script, and ends as the interpreter ends it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from faults import FaultProxy
from servers import MlflowServer

from timelapse import Prediction, Round, load_predictions, names, start_run
from timelapse.writing.sync import sync

TESTS = Path(__file__).resolve().parents[1]
LONGEST_PROGRAM_SECONDS = 90
EXIT_SECONDS = 20  # of a healthy end, on a busy machine
SILENT_SECONDS = 60  # MLflow alone would try for many minutes
"""How long a program may take from its last round to its end: generous, for a busy machine."""

DRIVER = """
import json, os, signal, sys, threading, time
from pathlib import Path

folder, longest = Path(sys.argv[1]), float(sys.argv[2])
imports, programs, together = json.loads((folder / "programs.json").read_text())
import IPython, mlflow, multiprocessing.util
from warm import warm_up
from timelapse import Prediction, Round, Sample, SampleSet, start_run
from timelapse.writing.spool import Spool, spool_folders
exec(imports)
warm_up()

SAMPLES = SampleSet(tuple(Sample(({"role": "user", "content": verb},), verb) for verb in ("go", "sing")))

def log(run, step):
    run.log_round(Round(step, tuple(Prediction(sample.sample_id, "sing") for sample in SAMPLES), seconds=1.0))
    (folder / f"{name}.logged").write_text(str(time.monotonic()))

def send(number):
    os.kill(os.getpid(), number)

def wait(name, child):
    deadline = time.monotonic() + longest
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    logged = folder / f"{name}.logged"
    seconds = time.monotonic() - float(logged.read_text()) if logged.exists() else 0.0
    return os.waitstatus_to_exitcode(ended[1]), seconds

def note_end(name, child):
    (folder / f"{name}.json").write_text(json.dumps(wait(name, child)))

children = {}
for name, program in programs.items():
    child = children[name] = os.fork()
    if child == 0:
        for stream, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"{name}.{kind}", os.O_WRONLY | os.O_CREAT, 0o600), stream)
        os.environ["MLFLOW_EXPERIMENT_NAME"] = name
        break
    if not together:
        note_end(name, children.pop(name))
else:
    for name, child in children.items():
        note_end(name, child)
    sys.exit()
exec(compile(program, name, "exec"))
"""

WITH = """
with start_run() as run:
    log(run, 0)
    log(run, 1)
"""
BARE = """
run = start_run()
log(run, 0)
log(run, 1)
"""
OWN_HOOK = """
def hook(kind, error, traceback):
    print("the user's hook:", error)
sys.excepthook = hook
"""
EXITING_HANDLER = """
def handler(number, frame):
    print("the user's handler")
    sys.exit(0)
signal.signal(signal.SIGTERM, handler)
"""
FLAG_HANDLER = EXITING_HANDLER.replace("sys.exit(0)", "global asked; asked = True")

PROGRAMS = {
    "with": WITH,
    "with error": WITH + "    1 / 0",
    "with exit 0": WITH + "    sys.exit(0)",
    "with exit 3": WITH + "    sys.exit(3)",
    "with SIGINT": WITH + "    send(signal.SIGINT)",
    "with SIGTERM": WITH + "    send(signal.SIGTERM)",
    "bare": BARE,
    "bare error": BARE + "1 / 0",
    "bare SIGINT": """
from timelapse.endings import watch
def end(*how):
    exec("")  # as imports do; it makes CPython forget that it was interrupted
    stop()
stop = watch(end, at_exit="FINISHED", reason_at_exit=None, in_cells=False)
"""
    + BARE
    + "send(signal.SIGINT)",
    "bare SIGTERM": BARE + "send(signal.SIGTERM)",
    "bare SIGTERM twice": BARE
    + """
from timelapse.endings import last_signal
def again():
    while last_signal() is None:
        time.sleep(0.001)
    send(signal.SIGTERM)
threading.Thread(target=again, daemon=True).start()
send(signal.SIGTERM)
""",
    "own hook before": OWN_HOOK + BARE + "1 / 0",
    "own hook after": BARE + OWN_HOOK + "1 / 0",
    "with exiting handler": EXITING_HANDLER + WITH + "    send(signal.SIGTERM)",
    "bare exiting handler": EXITING_HANDLER + BARE + "send(signal.SIGTERM)",
    "with flag handler": FLAG_HANDLER + WITH + "    send(signal.SIGTERM); assert asked",
    "bare flag handler": FLAG_HANDLER + BARE + "send(signal.SIGTERM); assert asked",
    "thread error": """
def train():
    run = start_run()
    log(run, 0)
    log(run, 1)
    1 / 0
thread = threading.Thread(target=train)
thread.start()
thread.join()
""",
    "main error": """
def train():
    with start_run() as run:
        log(run, 0)
        begun.set()
        threading.main_thread().join()
        log(run, 1)
begun = threading.Event()
threading.Thread(target=train).start()
begun.wait()
1 / 0
""",
    "child process": """
import multiprocessing
def train():
    run = start_run()
    log(run, 0)
    log(run, 1)
child = multiprocessing.get_context("fork").Process(target=train)
child.start()
child.join()
sys.exit(child.exitcode)
""",
    "child process error": """
import multiprocessing
def train():
    run = start_run()
    log(run, 0)
    log(run, 1)
    1 / 0
child = multiprocessing.get_context("fork").Process(target=train)
child.start()
child.join()
sys.exit(child.exitcode)
""",
}

OTHER_PROGRAMS = {
    "killed": """
run = start_run()
log(run, 0)
child = os.fork()
if child == 0:
    os.setsid()
    time.sleep(longest)
    os._exit(0)
(folder / "orphan").write_text(str(child))
os.kill(os.getpid(), signal.SIGKILL)
""",
    "take": """
orphan = int((folder / "orphan").read_text())
os.kill(orphan, 0)
[left] = spool_folders()
assert Spool.take(left) is not None
os.kill(orphan, 0)
os.kill(orphan, signal.SIGKILL)
""",
    "handlers": """
def handlers():
    return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
def mine(number, frame):
    old(number, frame)
before = handlers()
with start_run() as run:
    during = handlers()
    assert not set(before) & set(during), during
    with start_run(nested=True):
        assert handlers() == during
    assert handlers() == during, "a run is still open"
assert handlers() == before

with start_run():
    old = signal.signal(signal.SIGTERM, mine)
assert handlers() == (mine, before[1])

run = start_run()
run.run_id
ending = threading.Thread(target=run.finish)
ending.start()
ending.join()
mlflow.end_run()  # it is this thread's active run still
with start_run():
    send(signal.SIGTERM)  # the user's handler calls one of ours that is long gone
""",
    "children": """
def run_child(code):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    exec(code, globals())
    os._exit(0)

with start_run() as run:
    run.log_samples(SAMPLES)
    log(run, 0)
    assert run.flush(60)
    assert run_child("os._exit(0)") == 0
    assert run_child("sys.exit(0)") == 0
    assert run_child("sys.exit(5)") == 5
    assert run_child("1 / 0") == 1
    assert run_child("send(signal.SIGTERM)") == -signal.SIGTERM
    [*_, mine] = spool_folders()
    assert Spool.take(mine) is None, "this process holds it"
    stored = mlflow.get_run(run.run_id)
    assert stored.info.status == "RUNNING"
    assert stored.data.tags["timelapse.status"] == "live", stored.data.tags
    assert run_child("log(run, 7); assert run.flush(60)") == 0
    log(run, 1)
""",
    "SIGTERM in the end": """
from timelapse.writing import uploader
from timelapse.writing.artifacts import RunArtifacts
uploader.MOST_TOGETHER["round"] = 1
put_round = RunArtifacts.put_round
def slowly(*arguments):
    time.sleep(0.5)
    return put_round(*arguments)
RunArtifacts.put_round = slowly
def interrupt():
    while not run._sending:
        time.sleep(0.001)
    send(signal.SIGTERM)
with start_run() as run:
    assert run.flush()
    for step in range(40):
        log(run, step)
    threading.Thread(target=interrupt, daemon=True).start()
""",
}


@dataclass(frozen=True)
class Ended:
    """What is left of a program."""

    exit: int
    seconds: float
    """From its last round to its end."""
    output: str
    errors: str


@dataclass(frozen=True)
class Place:
    """Where programs run: a folder with an MLflow store and a spool of its own."""

    folder: Path
    uri: str

    @property
    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.uri)

    def run(
        self, programs: Mapping[str, str], imports: str = "", together: bool = False, **environment: str
    ) -> None:
        """Run programs, one after the other or together; each one's runs are in an experiment of its name."""
        (self.folder / "programs.json").write_text(json.dumps([imports, programs, together]))
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "TIMELAPSE"))
        }
        ours = {
            "MLFLOW_TRACKING_URI": self.uri,
            "TIMELAPSE_SPOOL": str(self.folder / "spool"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", DRIVER, str(self.folder), str(LONGEST_PROGRAM_SECONDS)]
        subprocess.run(command, cwd=self.folder, env=kept | ours | environment, timeout=280, check=True)

    def ended(self, program: str) -> Ended:
        exit_status, seconds = json.loads((self.folder / f"{program}.json").read_text())
        output, errors = ((self.folder / f"{program}.{kind}").read_text() for kind in ("out", "err"))
        return Ended(exit_status, seconds, output, errors)

    def runs(self, program: str) -> list[Any]:
        """Return the runs of a program, in the order of their start."""
        experiment = self.client.get_experiment_by_name(program)
        assert experiment is not None, self.ended(program)
        return list(self.client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]))


def make_place(folder: Path, empty_store: Path) -> Place:
    shutil.copy(empty_store, folder / "mlflow.db")
    return Place(folder, f"sqlite:///{folder / 'mlflow.db'}")


def how(run: Any) -> tuple[str, str | None]:
    """Return how a run has ended, for MLflow and for us."""
    return run.info.status, run.data.tags.get(names.TAG_STATUS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Place:
    place = make_place(tmp_path_factory.mktemp("endings"), empty_store)
    place.run(OTHER_PROGRAMS | PROGRAMS)
    return place


ZERO = "failed: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("program", "exit_status", "status", "told"),
    [
        ("with", 0, "FINISHED", "finished"),
        ("with error", 1, "FAILED", ZERO),
        ("with exit 0", 0, "FINISHED", "finished"),
        ("with exit 3", 3, "FAILED", "failed: SystemExit: 3"),
        ("with SIGINT", -signal.SIGINT, "KILLED", "failed: SIGINT"),
        ("with SIGTERM", -signal.SIGTERM, "KILLED", "failed: SIGTERM"),
        ("bare", 0, "FINISHED", "finished"),
        ("bare error", 1, "FAILED", ZERO),
        ("bare SIGINT", -signal.SIGINT, "KILLED", "failed: SIGINT"),
        ("bare SIGTERM", -signal.SIGTERM, "KILLED", "failed: SIGTERM"),
        ("bare SIGTERM twice", -signal.SIGTERM, "KILLED", "failed: SIGTERM"),
        ("own hook before", 1, "FAILED", ZERO),
        ("own hook after", 1, "FAILED", ZERO),
        ("with exiting handler", 0, "KILLED", "failed: SIGTERM"),
        ("bare exiting handler", 0, "KILLED", "failed: SIGTERM"),
        ("with flag handler", 0, "FINISHED", "finished"),
        ("bare flag handler", 0, "FINISHED", "finished"),
        ("thread error", 0, "FAILED", ZERO),
        ("main error", 1, "FINISHED", "finished"),
        ("child process", 0, "FINISHED", "finished"),
        ("child process error", 1, "FAILED", ZERO),
    ],
)
def test_the_run_ends_as_its_program_does(
    place: Place, program: str, exit_status: int, status: str, told: str
) -> None:
    ended, [run] = place.ended(program), place.runs(program)
    assert ended.exit == exit_status, ended.errors
    assert how(run) == (status, told)
    assert run.data.tags[names.TAG_ROUNDS] == "2"
    files = {Path(file.path).name for file in place.client.list_artifacts(run.info.run_id, "timelapse")}
    assert files >= {"round-00000000.parquet", "round-00000001.parquet"}
    assert "Exception ignored" not in ended.errors
    assert ended.seconds < EXIT_SECONDS


def test_a_signal_while_a_run_ends_lets_the_end_go_before_the_rounds(place: Place) -> None:
    """MLflow is slow, and twenty seconds of rounds wait: the training is over, and its run must say so."""
    ended, [run] = place.ended("SIGTERM in the end"), place.runs("SIGTERM in the end")
    assert ended.exit == -signal.SIGTERM, ended.errors
    status, told = how(run)
    assert status == "FINISHED"
    assert str(told).startswith("degraded: ")
    assert "`timelapse sync` sends them" in ended.errors


def test_signals_are_given_back(place: Place) -> None:
    ended, runs = place.ended("handlers"), place.runs("handlers")
    assert ended.exit == -signal.SIGTERM, ended.errors
    assert [run.info.status for run in runs] == ["FINISHED"] * 4 + ["KILLED"]


def test_a_users_exception_hook_is_still_called(place: Place) -> None:
    for program in ("own hook before", "own hook after"):
        assert place.ended(program).output == "the user's hook: division by zero\n"


def test_a_forked_child_ends_nothing_of_its_parents(place: Place) -> None:
    ended, [run] = place.ended("children"), place.runs("children")
    assert ended.exit == 0, ended.errors
    assert how(run) == ("FINISHED", "finished")
    steps = load_predictions(run.info.run_id, tracking_uri=place.uri)["step"]
    assert sorted(set(steps)) == [0, 1, 7], "the child's round, too"


def test_a_killed_parents_spool_can_be_taken_while_its_child_lives(place: Place) -> None:
    assert place.ended("killed").exit == -signal.SIGKILL
    assert place.ended("take").exit == 0, place.ended("take").errors


SILENCED = """
run = start_run()
log(run, 0)
assert run.flush(60)
(folder / f"{name}.ready").touch()
while not (folder / f"{name}.silent").exists():
    time.sleep(0.02)
log(run, 1)
"""
SILENCED_PROGRAMS = {
    "silenced": SILENCED,
    "silenced error": SILENCED + "1 / 0",
    "silenced SIGTERM": SILENCED + "send(signal.SIGTERM)",
}


@pytest.fixture(scope="module")
def silenced(tmp_path_factory: pytest.TempPathFactory, mlflow_server: MlflowServer) -> Place:
    """Programs whose MLflow takes requests, but answers none any more when they end."""
    folder = tmp_path_factory.mktemp("silenced")
    with FaultProxy(mlflow_server.uri) as proxy, ThreadPoolExecutor(1) as pool:
        place = Place(folder, proxy.uri)
        running = pool.submit(place.run, SILENCED_PROGRAMS, together=True, TIMELAPSE_CLOSE_SECONDS="2")
        while not all((folder / f"{program}.ready").exists() for program in SILENCED_PROGRAMS):
            assert not running.done(), running.exception()
            time.sleep(0.02)
        proxy.fault("hang")
        for program in SILENCED_PROGRAMS:
            (folder / f"{program}.silent").touch()
        running.result()
        proxy.heal()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TIMELAPSE_SPOOL", str(folder / "spool"))
            assert [outcome.state for outcome in sync(place.client)] == ["sent"] * len(SILENCED_PROGRAMS)
    return Place(folder, mlflow_server.uri)


@pytest.mark.parametrize(
    ("program", "exit_status", "expected"),
    [
        ("silenced", 0, ("FINISHED", "finished")),
        ("silenced error", 1, ("FAILED", ZERO)),
        ("silenced SIGTERM", -signal.SIGTERM, ("KILLED", "failed: SIGTERM")),
    ],
)
def test_a_silent_mlflow_holds_up_no_end_and_sync_brings_it(
    silenced: Place, program: str, exit_status: int, expected: tuple[str, str]
) -> None:
    ended, [run] = silenced.ended(program), silenced.runs(program)
    assert ended.exit == exit_status, ended.errors
    assert ended.seconds < SILENT_SECONDS
    assert how(run) == expected
    assert set(load_predictions(run.info.run_id, tracking_uri=silenced.uri)["step"]) == {0, 1}


TRAINER = """
from tiny import make_llama, make_samples, make_tokenizer, training_set
from transformers import Trainer, TrainerCallback, TrainingArguments
from timelapse_training import PredictionsCallback

class Accident(TrainerCallback):
    def __init__(self, happens):
        self.happens = happens
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            self.happens()

def train(happens=lambda: None, run_id=None, workers=0):
    tokenizer = make_tokenizer()
    Trainer(
        make_llama(),
        args=TrainingArguments(
            "out", max_steps=3, save_strategy="no", report_to="none",
            use_cpu=True, disable_tqdm=True, dataloader_num_workers=workers,
        ),
        train_dataset=training_set(tokenizer),
        processing_class=tokenizer,
        callbacks=[
            PredictionsCallback(make_samples("go"), run_id=run_id, max_new_tokens=2), Accident(happens)
        ],
    ).train()

def crash():
    try:
        train(lambda: 1 / 0)
    except ZeroDivisionError:
        print("caught")
"""

TRAININGS = {
    "training": "train(workers=2)",
    "training error": "train(lambda: 1 / 0)",
    "training exit": "train(lambda: sys.exit(3))",
    "training SIGINT": "train(lambda: send(signal.SIGINT))",
    "training SIGTERM": "train(lambda: send(signal.SIGTERM), workers=2)",
    "training caught": "crash()",
    "training again": "crash(); train()",
    "training in a run of mine": "with mlflow.start_run(): crash()",
    "training in a given run": """
experiment = mlflow.create_experiment(name)
train(lambda: 1 / 0, run_id=mlflow.MlflowClient().create_run(experiment).info.run_id)
""",
}
TOO_EARLY = "failed: the program ended before the training did"


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Place:
    place = make_place(tmp_path_factory.mktemp("trainings"), empty_store)
    place.run(TRAININGS, imports=TRAINER)
    return place


@pytest.mark.parametrize(
    ("program", "exit_status", "expected"),
    [
        ("training", 0, [("FINISHED", "finished")]),
        ("training error", 1, [("FAILED", ZERO)]),
        ("training exit", 3, [("FAILED", TOO_EARLY)]),
        ("training SIGINT", -signal.SIGINT, [("KILLED", "failed: SIGINT")]),
        ("training SIGTERM", -signal.SIGTERM, [("KILLED", "failed: SIGTERM")]),
        ("training caught", 0, [("FAILED", TOO_EARLY)]),
        (
            "training again",
            0,
            [
                ("FAILED", "failed: another training began before this one came to its end"),
                ("FINISHED", "finished"),
            ],
        ),
        ("training in a run of mine", 0, [("FINISHED", TOO_EARLY)]),
        ("training in a given run", 1, [("RUNNING", ZERO)]),
    ],
)
def test_a_training_under_a_bare_callback_ends_as_its_program_does(
    trainings: Place, program: str, exit_status: int, expected: list[tuple[str, str]]
) -> None:
    ended, runs = trainings.ended(program), trainings.runs(program)
    assert ended.exit == exit_status, ended.errors
    assert [how(run) for run in runs] == expected
    for run in runs:
        steps = load_predictions(run.info.run_id, tracking_uri=trainings.uri)["step"]
        assert set(steps) == ({0, 2, 3} if how(run) == ("FINISHED", "finished") else {0})


def test_each_call_of_a_decorated_function_is_a_run(tracking: mlflow.MlflowClient) -> None:
    @start_run("sweep")
    def divide(by: int) -> float:
        mlflow.log_param("by", by)
        return 1 / by

    assert [divide(1), divide(2)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        divide(0)
    runs = tracking.search_runs(["0"], order_by=["attributes.start_time"])
    assert [(run.info.run_name, run.data.params["by"], *how(run)) for run in runs] == [
        ("sweep", "1", "FINISHED", None),
        ("sweep", "2", "FINISHED", None),
        ("sweep", "0", "FAILED", ZERO),
    ]


def test_runs_in_threads_end_each_on_its_own(tracking: mlflow.MlflowClient) -> None:
    both_open = threading.Barrier(2, timeout=60)

    def train(run_id: str, step: int) -> None:
        with start_run(run_id=run_id) as run:
            both_open.wait()
            run.log_round(Round(step, (Prediction("a", f"said at {step}"),), seconds=1.0))
            if step == 2:
                raise ZeroDivisionError("division by zero")

    ids = [tracking.create_run("0").info.run_id for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first, second = [pool.submit(train, run_id, step) for step, run_id in enumerate(ids, start=1)]
    assert first.exception() is None
    assert isinstance(second.exception(), ZeroDivisionError)
    assert [how(tracking.get_run(run_id)) for run_id in ids] == [("FINISHED", "finished"), ("FAILED", ZERO)]
    for step, run_id in enumerate(ids, start=1):
        assert load_predictions(run_id)["prediction"].tolist() == [f"said at {step}"]


def test_a_nested_run_is_a_child_and_leaves_its_parent_open(tracking: mlflow.MlflowClient) -> None:
    with start_run("parent") as parent:
        with pytest.raises(ZeroDivisionError), start_run("child", nested=True) as child:
            raise ZeroDivisionError("division by zero")
        assert tracking.get_run(str(parent.run_id)).info.status == "RUNNING"
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == parent.run_id
    stored = tracking.get_run(str(child.run_id))
    assert stored.data.tags["mlflow.parentRunId"] == parent.run_id
    assert how(stored) == ("FAILED", ZERO)
    assert tracking.get_run(str(parent.run_id)).info.status == "FINISHED"
