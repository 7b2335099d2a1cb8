"""The parts of a launcher: the stored log, the masking, and who has a job."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run

from timelapse import names
from timelapse.config.known_secrets import known_secrets
from timelapse.config.redact import secret_values
from timelapse.errors import ConfigError, RunError
from timelapse.writing.spool import Header, Spool
from timelapse_training.launch import launch
from timelapse_training.launching.claims import at_work, check_job_id, runs_of_job, settle_dead
from timelapse_training.launching.ended import Ended
from timelapse_training.launching.log import LONGEST_LINE, JobLog
from timelapse_training.launching.masking import LONGEST_KEY, masker
from timelapse_training.launching.output import Output, pump
from timelapse_training.launching.record import LaunchRun, NewRun


def logged(*pieces: bytes, secrets: tuple[str, ...] = ()) -> str:
    log = JobLog(secrets)
    stream = log.stream()
    for piece in pieces:
        stream.feed(piece)
    stream.feed(b"", final=True)
    return log.text()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ((b"one\ntwo\n",), "one\ntwo\n"),
        ((b"on", b"e\r", b"\ntwo"), "one\ntwo\n"),
        ((b" 10%\r 50%", b"\r100%\nnext\n"), "100%\nnext\n"),
        ((b"caf\xc3", b"\xa9\n\xff\n"), "café\n\ufffd\n"),
        ((b"\x1b[31mred\x1b[0m \x1b]0;title\x07\0\n",), "red \n"),
        ((b"\n\nend\n",), "\n\nend\n"),
        ((), ""),
    ],
)
def test_the_log_holds_what_a_terminal_shows(pieces: tuple[bytes, ...], text: str) -> None:
    assert logged(*pieces) == text


def test_the_error_that_ends_a_program_stays_the_last_that_is_heard_of_it() -> None:
    log, outputs = JobLog(), []
    for said in (b"line 1\nline 2\n", b"RuntimeError: no\n"):
        source, pipe = os.pipe()
        os.write(pipe, said)
        os.close(pipe)
        outputs.append(Output(os.fdopen(source, "rb"), io.StringIO(), log.stream()))
    pump(*outputs)
    assert log.text() == "line 1\nline 2\nRuntimeError: no\n"
    assert all(output.source.closed for output in outputs)


def test_a_terminal_that_is_gone_does_not_stop_a_child(tmp_path: Path) -> None:
    terminal = (tmp_path / "terminal").open("w")
    terminal.close()
    source, pipe = os.pipe()
    log = JobLog()
    os.write(pipe, b"one\ntwo\n")
    os.close(pipe)
    pump(Output(os.fdopen(source, "rb"), terminal, log.stream()))
    assert log.text() == "one\ntwo\n"


def test_a_progress_bar_that_never_ends_its_line_takes_no_room() -> None:
    assert logged(*(b"\r%d of 100000" % number for number in range(100_000))) == "99999 of 100000\n"


def test_a_long_line_is_cut_and_says_so_and_a_secret_at_the_cut_is_masked_whole() -> None:
    start = "x" * (LONGEST_LINE - 5)
    text = logged(
        f"{start}the-secret-itself and more {'y' * 90_000}\nnext\n".encode(), secrets=("the-secret-itself",)
    )
    first, second = text.splitlines()
    assert first == f"{start}*** a [… the rest of this line is left out]"
    assert second == "next"


def test_a_long_log_keeps_both_ends_and_says_what_is_gone() -> None:
    log = JobLog(first=100, last=100)
    for number in range(1000):
        log.add(f"line {number:03}")  # nine bytes with its end
    lines = log.text().splitlines()
    assert lines[:2] == ["line 000", "line 001"]
    assert lines[11] == "[… 978 lines, 8802 bytes, are left out here …]"
    assert lines[-11:] == [f"line {number:03}" for number in range(989, 1000)]
    assert len(lines) == 11 + 1 + 11
    assert log.last().splitlines() == [f"line {number:03}" for number in [*range(2, 11), *range(989, 1000)]]


def test_the_last_lines_fit_into_a_tag() -> None:
    log = JobLog()
    for _ in range(30):
        log.add("x" * 900)
    assert len(log.last()) == 4000
    assert log.last().startswith("…x")


def test_secrets_are_known_by_their_names_and_found_wherever_they_stand() -> None:
    environment = {
        "HF_TOKEN": "hf-abcdefgh",
        "DB": "mysql://ada:p%40ssword@db/x",
        "JOB_TOKEN": "abc",
        "API_KEY": "short",
        "HOME": "/home/ada",
        "PWD": "/home/ada/training",
        "OLDPWD": "/home/ada/before",
        "GCP_PRIVATE_KEY": "line one\nline two",
    }
    known = known_secrets(
        environment, {"provider": {"api_key": 12345678}, "env": [{"name": "X_TOKEN", "value": "in-a-list"}]}
    )
    assert known == {
        "hf-abcdefgh",
        "p%40ssword",
        "p@ssword",
        "abc",
        "line one",
        "line two",
        "12345678",
        "in-a-list",
    }
    mask = masker(known)
    assert mask("abc: p@ssword? no, hf-abcdefgh! password=other /home/ada") == (
        "***: ***? no, ***! password=*** /home/ada"
    )


def test_what_is_no_secret_is_not_hidden() -> None:
    assert (
        secret_values({"eos_token": "<|im_end|>", "max_new_tokens": 128, "HF_TOKEN": None, "x": ["y"]})
        == set()
    )
    mask = masker(())
    assert mask("-----BEGIN PRIVATE KEY-----") == "***"
    hidden = [mask(f"line {number}") for number in range(LONGEST_KEY + 5)]
    assert hidden.index(f"line {LONGEST_KEY}") == LONGEST_KEY, "an end that never comes hides no whole log"


def test_how_a_child_ended_in_other_words() -> None:
    assert (Ended(0, None).exit_code, Ended(0, None).status) == (0, "FINISHED")
    assert (Ended(3, None).exit_code, Ended(3, None).status) == (3, "FAILED")
    assert (Ended(3, "SIGTERM").exit_code, Ended(3, "SIGTERM").status) == (3, "KILLED")
    assert (Ended(-11, None).exit_code, Ended(-11, None).reason) == (139, "SIGSEGV")
    assert Ended(-64, None).reason in ("signal 64", "SIGRTMAX")


@pytest.mark.parametrize("job_id", ["it's", 'a"b', "a`b", "a\nb", "x" * 251])
def test_a_job_id_must_be_searchable(job_id: str) -> None:
    with pytest.raises(ConfigError, match=r"--job-id .*printable characters without quotes"):
        check_job_id(job_id)
    assert check_job_id("team/42 (é)") == "team/42 (é)"


def lease(seconds_ago: float) -> str:
    seen = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))
    return json.dumps({"host": "elsewhere", "process": 7, "seen": seen})


def make_run(tracking: mlflow.MlflowClient, **tags: str) -> str:
    run = tracking.create_run("0", tags={names.TAG_JOB: "42", **tags})
    return str(run.info.run_id)


def test_a_launcher_elsewhere_is_alive_while_it_says_so(tracking: mlflow.MlflowClient) -> None:
    make_run(tracking, **{names.TAG_LAUNCHER: lease(100)})
    [run] = settle_dead(tracking, runs_of_job(tracking, "0", "42"))
    assert run.info.status == "RUNNING"
    assert "was at work on elsewhere (process 7) 10" in str(at_work(run))


def test_a_launcher_elsewhere_that_has_fallen_silent_is_gone(tracking: mlflow.MlflowClient) -> None:
    run_id = make_run(tracking, **{names.TAG_LAUNCHER: lease(1000)})
    [run] = settle_dead(tracking, runs_of_job(tracking, "0", "42"))
    assert at_work(run) is None
    stored = tracking.get_run(run_id)
    assert stored.info.status == "KILLED"
    assert (
        stored.data.tags[names.TAG_STATUS]
        == "failed: its launcher on elsewhere (process 7) has fallen silent"
    )
    assert stored.info.end_time < time.time() * 1000 - 900_000


def test_a_run_of_which_nothing_is_known_may_be_alive(tracking: mlflow.MlflowClient) -> None:
    run_id = make_run(tracking)
    [run] = settle_dead(tracking, runs_of_job(tracking, "0", "42"))
    assert f"set_terminated('{run_id}', 'KILLED')" in str(at_work(run))
    tracking.set_terminated(run_id)
    assert at_work(tracking.get_run(run_id)) is None


def test_a_process_at_work_on_this_machine_holds_its_run(tracking: mlflow.MlflowClient) -> None:
    run_id = make_run(tracking)
    spool = Spool.create(Header(run_id, tracking.tracking_uri, owned=True, start_time=1))
    [run] = settle_dead(tracking, runs_of_job(tracking, "0", "42"))
    assert str(at_work(run)).startswith("is at work on this machine")
    spool.close(remove=False)  # as if it were dead
    [run] = settle_dead(tracking, runs_of_job(tracking, "0", "42"))
    assert (at_work(run), run.info.status) == (None, "KILLED")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_text('{"question": "go", "answer": "went"}\n')
    (tmp_path / "config.yaml").write_text("model: m\ndata: {train: train.jsonl}\n")
    return tmp_path / "config.yaml"


def test_of_two_launches_at_the_same_moment_not_both_start(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    create = LaunchRun.create

    def create_beside_another(client: mlflow.MlflowClient, new: NewRun) -> LaunchRun:
        make_run(client)  # behind our search for one
        return create(client, new)

    monkeypatch.setattr(LaunchRun, "create", create_beside_another)
    with pytest.raises(RunError, match=r"launched at this very moment; nothing was started\.$"):
        launch(config, job_id="42", command=["touch", "started"])
    assert not (config.parent / "started").exists()
    assert len(tracking.search_runs(["0"])) == 1, "ours is deleted"
    assert not list((config.parent / "spool").glob("*"))


def test_of_two_launches_that_go_on_in_a_run_at_the_same_moment_not_both_start(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, config: Path
) -> None:
    run_id = make_run(tracking)
    tracking.set_terminated(run_id)
    attach, others = LaunchRun.attach, []

    def attach_beside_another(client: mlflow.MlflowClient, run: Run, tags: Mapping[str, str]) -> LaunchRun:
        others.append(Spool.create(Header(run_id, tracking.tracking_uri, owned=True, start_time=1)))
        return attach(client, run, tags)

    monkeypatch.setattr(LaunchRun, "attach", attach_beside_another)
    with pytest.raises(RunError, match=r"goes on in the run .* at this very moment; nothing was started\.$"):
        launch(config, job_id="42", if_exists="attach", command=["touch", "started"])
    assert not (config.parent / "started").exists()
    assert tracking.get_run(run_id).info.status == "FINISHED"
    assert [spool.folder for spool in others] == list((config.parent / "spool").glob("*")), "ours is gone"
    others[0].close(remove=True)


def test_every_file_that_is_missing_is_named_before_anything_is_made(
    tracking: mlflow.MlflowClient, config: Path
) -> None:
    missing = ["predictions.samples_path=a.jsonl", "predictions.sets.probe.samples_path=b.jsonl"]
    with pytest.raises(ConfigError) as raised:
        launch(config, overrides=missing, command=["true"])
    assert [line.split(": ")[1] for line in str(raised.value).splitlines()] == [
        "predictions.samples_path",
        "predictions.sets.probe.samples_path",
    ]
    assert tracking.search_runs(["0"]) == []


def test_the_handlers_of_signals_are_given_back(tracking: mlflow.MlflowClient, config: Path) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    before = handlers()
    assert launch(config, command=["true"]) == 0
    assert handlers() == before
    assert [run.info.status for run in tracking.search_runs(["0"])] == ["FINISHED"]


def test_a_run_that_is_named_is_gone_on_in(
    tracking: mlflow.MlflowClient, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = tracking.create_run("0").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert launch(config, job_id="43", command=["false"]) == 1
    [run] = tracking.search_runs(["0"])
    assert (run.info.run_id, run.info.status, run.data.tags[names.TAG_JOB]) == (run_id, "FAILED", "43")
    spool = Spool.create(Header(run_id, tracking.tracking_uri, owned=True, start_time=1))
    with pytest.raises(RunError, match=f"The run {run_id} is being written to"):
        launch(config, command=["true"])
    spool.close(remove=True)


def test_without_mlflow_nothing_is_started(
    tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = [f"tracking.uri=http://127.0.0.1:{probe.getsockname()[1]}"]
    with pytest.raises(RunError, match="does not answer"):
        launch(config, overrides=away, command=["touch", "started"])
    monkeypatch.setenv("TIMELAPSE_OFFLINE", "1")
    with pytest.raises(RunError, match="TIMELAPSE_OFFLINE is set, but a launch makes its run first"):
        launch(config, command=["touch", "started"])
    assert not (tmp_path / "started").exists()
    assert not list((tmp_path / "spool").glob("*"))
