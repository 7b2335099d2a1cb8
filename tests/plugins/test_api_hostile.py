"""The API and those who mean no good: odd requests are told what to do, and memory stays bounded."""

from __future__ import annotations

import asyncio
import ctypes
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from inner_mlflow import ADDRESS, Place, served
from parquet_bombs import repeated, rows, stored, understated
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient
from stored_runs import finished_files, make_round, make_samples, put_files, round_files, store_run

from timelapse import Prediction, Round, names
from timelapse.reading.bounds import Bounds
from timelapse.reading.loader import load_rounds
from timelapse.tables import samples_table
from timelapse_plugins.api import build, compare, run_files
from timelapse_plugins.inner import Answer, Caller, InProcess, TooLargeError
from timelapse_plugins.refusals import Refused

# Starlette's bridge, on which MLflow's server is built, leaves files that it has sent to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SAMPLES = make_samples(3)
EXAMPLES = int(os.environ.get("TIMELAPSE_TEST_EXAMPLES", "12"))
"""Requests by Schemathesis an operation."""
FIELDS = {"type", "title", "status", "detail", "hint"}


@pytest.fixture(scope="module")
def place(new_store: Callable[[Path], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("hostile")
    with served(new_store(folder), folder / "mlruns") as place:
        yield place


@pytest.fixture(scope="module")
def run_id(place: Place) -> str:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0), make_round(SAMPLES, 5)]))
    return store_run(place.client, "0", files)


def live_run(place: Place, files: dict[str, bytes]) -> str:
    run_id = place.client.create_run("0", tags={names.TAG_SCHEMA: "1"}).info.run_id
    sound = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0)]))
    kept = {name: sound[name] for name in (names.SAMPLES_FILE, names.round_file(0))}
    put_files(place.client, run_id, kept | files)
    return run_id


@pytest.mark.parametrize(
    "id_", ["..%2f..%2fetc", "%00", "a'b", '"', "x" * 300, "%ff", "ü", ".", "a%0ab", "-x", "%2e%2e"]
)
@pytest.mark.parametrize("path", ["/runs/{}", "/runs/{}/overview", "/runs/{}/export", "/experiments/{}/runs"])
def test_ids_that_are_none_reach_nobody(place: Place, id_: str, path: str) -> None:
    answer = place.api.get(path.format(id_))
    assert answer.status_code in (404, 422)
    assert set(answer.json()) == FIELDS
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/nothing", 404, "nothing at this address"),
        ("/runs/0123/overview", 404, "Run with id=0123 not found"),
        ("/experiments/77/runs", 404, "No Experiment with id=77"),
        (f"/experiments/{10**20}/runs", 404, "There is no experiment"),
        ("/runs/{}/overview?set=probe", 404, "no sample set 'probe'. There are: main"),
        ("/runs/{}/overview?attempt=3", 404, "no attempt '3'. There are: 0"),
        ("/runs/{}/overview?attempt=x", 422, "attempt: "),
        ("/runs/{}/matrix?score=bleu", 404, "no score 'bleu'. There are: exact_match"),
        ("/runs/{}/texts", 422, "lane: "),
        ("/runs/{}/texts?lane=3", 404, "no lane 3: there are 3"),
        ("/runs/{}/texts?" + "lane=1&" * 1001, 422, "lane: "),
        ("/runs/{}/texts?" + "x=1&" * 2001, 422, "more than 2,000 parameters"),
        ("/runs/{}/search?text=" + "x" * 1001, 422, "text: "),
        ("/runs/{}/samples/nobody", 404, "no sample 'nobody'"),
        ("/runs/{}/samples/..%2f..%2fx", 404, ""),
        ("/runs/{}/predictions?limit=501", 422, "limit: "),
        ("/runs/{}/predictions?sort=predictoin", 404, "Did you mean 'prediction'?"),
        ("/runs/{}/predictions?sort=mine", 404, "no column 'mine'"),
        ("/runs/{}/predictions?mark=lerned", 404, "Did you mean 'learned'?"),
        ("/runs/{}/predictions?step=" + "9" * 30, 422, "step.0: "),
        ("/runs/{}/predictions?epoch=nan", 200, ""),
        ("/runs/{}/predictions?text=%00%ff%27;DROP", 200, ""),
        ("/runs/{}/export?format=exe", 422, "format: "),
        ("/compare?run={}", 422, "run: "),
        ("/compare?run={0}&run={0}", 422, "needs two runs"),
        ("/compare?run={0}&run=..%2fx", 422, "no id of a run"),
        ("/compare?run={0}&run={0}@5&round=zz", 422, "round: "),
        ("/compare?run={0}&run={0}@99", 422, "no round at step 99"),
        ("/compare?run={0}&run=0123", 404, "Run with id=0123 not found"),
    ],
)
def test_what_cannot_be_answered_says_why(
    place: Place, run_id: str, path: str, status: int, said: str
) -> None:
    answer = place.api.get(path.format(run_id))
    assert answer.status_code == status, answer.text
    assert said in answer.text
    if status != 200:
        assert set(answer.json()) == FIELDS
        assert answer.json()["hint"]
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_nothing_can_be_changed(place: Place, run_id: str, method: str) -> None:
    answer = place.api.request(method, f"/runs/{run_id}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json()["hint"]
    assert place.api.options(f"/runs/{run_id}").headers["allow"] == "GET, HEAD, OPTIONS"


def test_a_host_that_mlflow_refuses_is_refused(place: Place, run_id: str) -> None:
    answer = place.api.get(f"/runs/{run_id}/overview", headers={"host": "evil.example"})
    assert answer.status_code == 403
    assert "Host" in answer.json()["detail"]


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a repeated text": (lambda: repeated("x" * 10_000, 100_000), "decodes to at least"),
    "a lying footer": (
        lambda: understated(
            stored(rows(60, prediction=["x" * 1_000_000] * 60), use_dictionary=False, data_page_size=1 << 30)
        ),
        "decodes to at least",
    ),
    "too many rows": (lambda: stored(rows(1_000_001)), "has 1,000,001 rows; "),
    "200 MB": (lambda: b"sparse", "more than 67,108,864 bytes"),
    "no Parquet": (lambda: b"PAR1 this is none PAR1", "cannot be read"),
    "nothing": (lambda: b"", "cannot be read"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_is_too_much_is_named_and_the_rest_is_shown(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, said = BOMBS[name]
    if name == "a lying footer":  # else it would have to be large in this test's own memory
        monkeypatch.setattr(run_files, "ROUNDS", Bounds(decoded_bytes=32 << 20))
    run_id = live_run(place, {names.round_file(5): make()})
    if name == "200 MB":
        folder = Path(place.client.get_run(run_id).info.artifact_uri)
        os.truncate(folder / names.ARTIFACT_FOLDER / names.round_file(5), 200 << 20)
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(pool))  # never freed: the server keeps tables made in it
    pa.set_memory_pool(pool)
    try:
        told = place.get(f"/runs/{run_id}/overview")
    finally:
        pa.set_memory_pool(before)
    assert [each["step"] for each in told["rounds"]] == [0]
    [problem] = told["problems"]
    assert problem.startswith("round-00000005.parquet cannot be read: ")
    assert said in problem
    assert pool.max_memory() < 64 << 20
    assert place.get(f"/runs/{run_id}/predictions")["problems"] == [problem]


def test_a_run_that_cannot_be_arranged_says_so_and_leaves_the_list_of_runs(place: Place, run_id: str) -> None:
    experiment = place.client.create_experiment("scattered")
    count = 10_000
    scattered = rows(count) | {"step": range(count), "sample_id": [str(each) for each in range(count)]}
    bad = place.client.create_run(experiment, tags={names.TAG_SCHEMA: "1"}).info.run_id
    put_files(place.client, bad, {names.round_file(0): stored(scattered)})
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, 0)]))
    good = store_run(place.client, experiment, files)
    for path in ("overview", "predictions", "export"):
        answer = place.api.get(f"/runs/{bad}/{path}")
        assert answer.status_code == 404
        assert "10,000 rounds of 10,000 answers" in answer.json()["detail"]
    sample = SAMPLES.samples[0].sample_id
    lines = place.get(f"/experiments/{experiment}/runs", sample=sample)["runs"]
    texts = {line["run"]["run_id"]: line["last_text"] for line in lines}
    assert "100,000,000 cells" in texts[bad]["problem"]
    assert texts[good]["prediction"] == "step 0 attempt 0 sample 0"


@pytest.mark.parametrize("metadata", ["{", "[1]", '"text"', "[" * 5000])
def test_metadata_that_is_none_is_left_out(place: Place, metadata: str) -> None:
    table = samples_table([SAMPLES], {})
    at = table.column_names.index("metadata")
    columns = table.set_column(at, "metadata", pa.array([metadata] * len(table)))
    run_id = live_run(
        place, {names.SAMPLES_FILE: stored(dict(zip(columns.column_names, columns.columns, strict=True)))}
    )
    assert place.get(f"/runs/{run_id}/overview")["samples"][0]["metadata"] == {}
    sample = SAMPLES.samples[0].sample_id
    assert place.get(f"/runs/{run_id}/samples/{sample}")["sample"]["metadata"] == {}


def test_a_configuration_that_json_cannot_hold_is_told(place: Place) -> None:
    deep = "".join(" " * depth + "a:\n" for depth in range(300))
    [problem] = place.get("/config/check", config=deep)["problems"]
    assert (problem["line"], problem["text"]) == (100, "is not valid YAML: it is nested more than 100 deep.")
    answer = place.api.get("/config/check", params={"config": 'a: "\\ud800"\n'})
    assert answer.status_code == 422
    assert "nested too deeply, or holds half a character" in answer.json()["detail"]


def test_no_more_of_an_answer_is_read_than_was_allowed(place: Place) -> None:
    run_id = live_run(place, {"large.bin": b"x" * (20 << 20)})
    inner, caller = InProcess(place.app), Caller(((b"host", b"127.0.0.1:5000"),))
    params = [("run_id", run_id), ("path", "timelapse/large.bin")]
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="more than 1,048,576 bytes"):
        anyio.run(inner.get, "/get-artifact", params, caller, 1 << 20)
    _now, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20
    whole = anyio.run(inner.get, "/get-artifact", params, caller)
    assert len(whole.body) == 20 << 20


def test_a_text_of_a_megabyte_is_cut_and_told(place: Place) -> None:
    round_ = Round(5, tuple(Prediction(each.sample_id, "é" * 1_000_000) for each in SAMPLES))
    run_id = store_run(place.client, "0", finished_files([SAMPLES], round_files([round_])))
    assert place.get(f"/runs/{run_id}/overview")["problems"] == [
        "column 'prediction': 3 texts have more than 200,000 characters: cut here"
    ]
    [text] = place.get(f"/runs/{run_id}/texts", lane=0)["lanes"][0]["predictions"]
    assert text == "é" * 199_999 + "…"


def test_runs_that_are_too_much_together_are_not_compared(
    place: Place, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, step) for step in (0, 10)]))
    ids = [store_run(place.client, "0", files) for _ in range(5)]
    query = {"run": [f"{ids[0]}@0", f"{ids[0]}@10"]}
    loaded = load_rounds(place.client, ids[0])
    one = loaded.rounds.nbytes + loaded.samples.nbytes
    monkeypatch.setattr(compare, "MOST_BYTES", 5 * one // 2)
    assert place.get("/compare", **query)["rows"], "two rounds of one run are read once"
    inner = Refusing(place.app)
    inner.asked = []
    with TestClient(build(inner), base_url=ADDRESS) as api:
        for path in ("/compare", "/compare/export"):
            answer = api.get(path, params={"run": ids})
            assert answer.status_code == 422
            assert "and a server compares" in answer.json()["detail"]
            assert "timelapse compare" in answer.json()["hint"]
    assert inner.asked.count("/api/2.0/mlflow/artifacts/list") == 4, "two more, and no more, were read"


def test_samples_that_are_too_many_are_named(place: Place) -> None:
    samples = stored({"set": pa.repeat("main", 100_001), "sample_id": pa.repeat("s", 100_001)})
    run_id = live_run(place, {names.SAMPLES_FILE: samples})
    told = place.get(f"/runs/{run_id}/overview")
    assert "samples.parquet cannot be read" in told["problems"][0]
    assert "100,001 rows" in told["problems"][0]
    assert told["rounds"][0]["rows"] == 3


class Refusing(InProcess):
    """MLflow, but for paths that it refuses as it would somebody without permission."""

    refused: tuple[str, ...] = ()
    hanging: tuple[str, ...] = ()
    with_a_page: tuple[str, ...] = ()
    asked: list[str] = []  # noqa: RUF012 - of the test's only instance

    async def get(self, path: str, params: Any, caller: Caller, limit: int = 64 << 20) -> Answer:
        return self._other(path) or await super().get(path, params, caller, limit)

    async def search(self, path: str, question: bytes, caller: Caller, limit: int = 64 << 20) -> Answer:
        return self._other(path) or await super().search(path, question, caller, limit)

    async def _asked(self, scope: dict[str, Any], body: bytes, limit: int) -> Answer:
        if scope["path"] in self.hanging:
            await anyio.sleep_forever()
        return await super()._asked(scope, body, limit)

    def _other(self, path: str) -> Answer | None:
        self.asked.append(path)
        if path in self.refused:
            return Answer(403, {}, b'{"message": "Permission denied"}')
        if path in self.with_a_page:
            return Answer(200, {}, b"<html>Please log in</html>")
        return None


@pytest.fixture
def refusing(place: Place, request: pytest.FixtureRequest) -> Iterator[tuple[Refusing, TestClient]]:
    inner = Refusing(place.app)
    inner.asked = []
    known = getattr(request, "param", True)
    with TestClient(build(inner, known_inner=known), base_url=ADDRESS) as api:
        yield inner, api


def test_a_refusal_of_files_is_explained_and_not_kept(
    refusing: tuple[Refusing, TestClient], run_id: str
) -> None:
    inner, api = refusing
    inner.refused = ("/get-artifact",)
    told = api.get(f"/runs/{run_id}/overview").json()
    assert told["rounds"] == []
    assert any("MLflow answers 403: Permission denied" in problem for problem in told["problems"])
    inner.refused = ()
    assert len(api.get(f"/runs/{run_id}/overview").json()["rounds"]) == 2


def test_a_store_that_hangs_is_given_up_and_asked_again_later(
    refusing: tuple[Refusing, TestClient], run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, api = refusing
    monkeypatch.setattr(run_files, "FILE_SECONDS", 0.2)
    inner.hanging = ("/get-artifact",)
    told = api.get(f"/runs/{run_id}/overview").json()
    assert told["rounds"] == []
    said = (
        "MLflow answers 504: the artifact store did not hand out timelapse/manifest.json within 0.2 seconds"
    )
    assert any(said in problem for problem in told["problems"])
    inner.hanging = ()
    monkeypatch.undo()
    assert len(api.get(f"/runs/{run_id}/overview").json()["rounds"]) == 2


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/api/2.0/mlflow/runs/get", "/runs/{}"),
        ("/api/2.0/mlflow/artifacts/list", "/runs/{}/overview"),
        ("/api/2.0/mlflow/experiments/get", "/experiments/0/runs"),
        ("/api/2.0/mlflow/runs/search", "/experiments/0/runs"),
        ("/api/2.0/mlflow/experiments/search", "/jobs/j/runs"),
    ],
)
def test_the_page_of_a_proxy_is_no_answer(
    refusing: tuple[Refusing, TestClient], run_id: str, asked: str, path: str
) -> None:
    inner, api = refusing
    inner.with_a_page = (asked,)
    answer = api.get(path.format(run_id))
    assert answer.status_code == 502
    assert "is a login page in the way?" in answer.json()["detail"]


def test_a_refused_search_is_not_the_cursors_fault(refusing: tuple[Refusing, TestClient]) -> None:
    inner, api = refusing
    inner.refused = ("/api/2.0/mlflow/runs/search",)
    answer = api.get("/experiments/0/runs?cursor=x")
    assert answer.status_code == 403
    assert "Permission denied" in answer.json()["detail"]


def test_work_is_done_for_those_whom_mlflow_knows(refusing: tuple[Refusing, TestClient]) -> None:
    inner, api = refusing
    assert api.get("/config/check?config=model:+x").status_code == 200
    inner.refused = ("/api/2.0/mlflow/experiments/search",)
    assert api.get("/config/check?config=model:+x").status_code == 403


def test_so_many_files_are_sent_at_a_time(place: Place, run_id: str) -> None:
    app = build(InProcess(place.app))
    app.state.service = replace(app.state.service, downloads=asyncio.Semaphore(1))
    with TestClient(app, base_url=ADDRESS) as api:
        for _ in range(3):
            assert api.get(f"/runs/{run_id}/export").status_code == 200, "each gives its place back"
        app.state.service = replace(app.state.service, downloads=asyncio.Semaphore(0))
        refused = api.get(f"/runs/{run_id}/export")
    assert refused.status_code == 503
    assert refused.json()["hint"] == "Try again in a minute."


@pytest.mark.parametrize("refusing", [True, False], indirect=True)
def test_what_is_kept_is_shown_only_to_those_whom_mlflow_shows_it(
    refusing: tuple[Refusing, TestClient], run_id: str, request: pytest.FixtureRequest
) -> None:
    inner, api = refusing
    first = api.get(f"/runs/{run_id}/overview")
    inner.asked.clear()
    assert api.get(f"/runs/{run_id}/overview").content == first.content
    is_known = "True" in request.node.name
    assert inner.asked.count("/api/2.0/mlflow/runs/get") == 1, "authorised before anything else"
    assert "/get-artifact" not in inner.asked
    assert ("/api/2.0/mlflow/artifacts/list" in inner.asked) == (not is_known)
    inner.refused = ("/api/2.0/mlflow/runs/get",)
    for path in ("", "/overview", "/export", "/predictions"):
        refused = api.get(f"/runs/{run_id}{path}", headers={"if-none-match": first.headers["etag"]})
        assert refused.status_code == 403, "not even that nothing has changed"
    inner.refused = ("/api/2.0/mlflow/artifacts/list",)
    assert api.get(f"/runs/{run_id}/overview").status_code == (200 if is_known else 403)


def test_an_authoriser_of_ones_own_is_asked(place: Place, run_id: str) -> None:
    async def refuse(run_id: str, caller: Caller) -> dict[str, Any]:
        assert (b"authorization", b"Bearer x") in caller.headers
        raise Refused(401, {"www-authenticate": 'Basic realm="mlflow"'}, b"<html>log in</html>")

    with TestClient(build(InProcess(place.app), refuse), base_url=ADDRESS) as api:
        answer = api.get(f"/runs/{run_id}", headers={"authorization": "Bearer x"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="mlflow"'
    assert "Log in" in answer.json()["hint"]


def test_openapi_is_complete(place: Place) -> None:
    document = place.get("/openapi.json")
    for path, methods in document["paths"].items():
        assert list(methods) == ["get"]
        told = methods["get"]
        assert told["description"], path
        for parameter in told.get("parameters", ()):
            assert parameter["schema"], path
        schema = told["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
        assert schema or path.endswith(("/export", "/report")), path  # files


CHECKS = [
    *(checks.not_a_server_error, status_code_conformance),
    *(content_type_conformance, response_schema_conformance),
]


def test_schemathesis_finds_nothing(place: Place, run_id: str) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", place.api.app)
    operations = [each.ok() for each in schema.get_all_operations()]
    assert len(operations) >= 15
    for operation in operations:
        modes = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE])

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(
            modes.flatmap(lambda mode, each=operation: each.as_strategy(generation_mode=mode)), st.booleans()
        )
        def probe(case: schemathesis.Case, is_there: bool) -> None:
            if is_there and "run_id" in case.path_parameters:
                case.path_parameters["run_id"] = run_id
            case.call_and_validate(checks=CHECKS, headers={"host": "127.0.0.1:5000"})

        probe()
