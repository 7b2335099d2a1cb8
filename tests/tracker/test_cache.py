from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from servers import MlflowServer
from stored_runs import finished_files, make_round, make_samples, put_files, round_files, store_run
from urllib3 import HTTPConnectionPool

from timelapse import TimelapseWarning, load_predictions, names
from timelapse.errors import ConfigError
from timelapse.reading.cache import Cache
from timelapse.tables import parquet_bytes

SAMPLES = make_samples()
KEY = "a" * 64


@pytest.fixture(scope="module")
def server(mlflow_server: MlflowServer) -> MlflowServer:
    return mlflow_server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMELAPSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "artifacts"


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were really asked for, in order."""
    seen: list[str] = []
    send = HTTPConnectionPool.urlopen

    def noted(pool: HTTPConnectionPool, method: str, url: str, *more: Any, **settings: Any) -> Any:
        seen.append(url.partition("/api/")[2].partition("?")[0].rpartition("/artifacts/timelapse/")[2])
        return send(pool, method, url, *more, **settings)

    monkeypatch.setattr(HTTPConnectionPool, "urlopen", noted)
    return seen


def stored(
    server: MlflowServer, name: str, *rounds: Any, at_rest: bool = True
) -> tuple[mlflow.MlflowClient, str]:
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    files = finished_files([SAMPLES], round_files(rounds or [make_round(SAMPLES, 0)]))
    return client, store_run(client, client.create_experiment(name), files, name=name, at_rest=at_rest)


def test_a_run_at_rest_is_read_again_without_a_request_for_it(
    server: MlflowServer, folder: Path, requested: list[str]
) -> None:
    stored(server, "rest", make_round(SAMPLES, 0), make_round(SAMPLES, 10))
    requested.clear()

    first = load_predictions(experiment="rest", tracking_uri=server.uri)
    files = [names.ROUNDS_FILE, names.SAMPLES_FILE]
    assert sorted(each for each in requested if "mlflow/" not in each) == files
    requested.clear()
    second = load_predictions(experiment="rest", tracking_uri=server.uri)

    assert requested == ["2.0/mlflow/experiments/get-by-name", "2.0/mlflow/runs/search"]
    assert len(second) == 6
    assert first.equals(second)
    assert len(list(folder.iterdir())) == 2
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_files_that_came_ahead_and_are_not_wanted_take_nobodys_room(
    server: MlflowServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process has put all files but the last into the cache since they were asked for."""
    monkeypatch.setattr("timelapse.reading.ahead.MOST_BYTES", 1)
    steps = range(6)
    runs = [stored(server, f"ahead {step}", make_round(SAMPLES, step))[1] for step in steps]
    load_predictions(runs[:-1], tracking_uri=server.uri)
    monkeypatch.setattr(Cache, "has", lambda *_: False)

    frame = load_predictions(runs, tracking_uri=server.uri)
    assert frame["step"].unique().tolist() == list(steps)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_or_vanished_cache_file_is_fetched_again(
    server: MlflowServer, folder: Path, requested: list[str], damage: bytes | None
) -> None:
    name = f"damaged {damage!r}"
    stored(server, name)
    expected = load_predictions(experiment=name, tracking_uri=server.uri)
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content) if damage is None else damage)
    requested.clear()

    again = load_predictions(experiment=name, tracking_uri=server.uri)

    assert again.equals(expected)
    assert again.attrs["problems"] == []
    assert len(requested) == 4
    requested.clear()
    load_predictions(experiment=name, tracking_uri=server.uri)
    assert len(requested) == 2


def test_a_damaged_download_is_reported_and_never_cached(server: MlflowServer, folder: Path) -> None:
    client, run_id = stored(server, "torn", make_round(SAMPLES, 0), make_round(SAMPLES, 10), at_rest=False)
    whole = parquet_bytes(round_files([make_round(SAMPLES, 20)])[names.round_file(20)])
    put_files(client, run_id, {names.round_file(20): whole[:4] + bytes(60) + whole[64:]})

    with pytest.warns(TimelapseWarning, match=r"round-00000020\.parquet cannot be read"):
        frame = load_predictions(experiment="torn", tracking_uri=server.uri)
    assert frame["step"].unique().tolist() == [0, 10]
    put_files(client, run_id, {names.round_file(20): whole})

    assert load_predictions(experiment="torn", tracking_uri=server.uri)["step"].unique().tolist() == [
        0,
        10,
        20,
    ]
    client.set_tag(run_id, names.TAG_MANIFEST, "0" * 64)  # a manifest that is not this one
    assert len(load_predictions(experiment="torn", tracking_uri=server.uri)) == 9


def test_rounds_of_a_live_run_are_fetched_once(
    server: MlflowServer, folder: Path, requested: list[str]
) -> None:
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    files = finished_files([SAMPLES], round_files([make_round(SAMPLES, step) for step in range(5)]))
    del files[names.ROUNDS_FILE], files[names.MANIFEST_FILE]
    run_id = store_run(client, client.create_experiment("live"), files, at_rest=False)
    load_predictions(run_id, tracking_uri=server.uri)
    more = round_files([make_round(SAMPLES, 7)])
    put_files(client, run_id, {name: parquet_bytes(table) for name, table in more.items()})
    requested.clear()

    frame = load_predictions(run_id, tracking_uri=server.uri)

    assert frame["step"].unique().tolist() == [0, 1, 2, 3, 4, 7]
    assert sorted(each for each in requested if each.endswith(".parquet")) == [
        names.round_file(7),
        names.SAMPLES_FILE,
    ]


def test_runs_with_the_same_samples_fetch_them_once(
    server: MlflowServer, folder: Path, requested: list[str]
) -> None:
    client, _ = stored(server, "same")
    experiment = client.get_experiment_by_name("same").experiment_id
    for step in range(1, 4):
        store_run(client, experiment, finished_files([SAMPLES], round_files([make_round(SAMPLES, step)])))
    requested.clear()

    assert len(load_predictions(experiment="same", tracking_uri=server.uri)) == 12
    assert requested.count(names.SAMPLES_FILE) == 1


def test_the_cache_can_be_turned_off(
    server: MlflowServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_CACHE_MB", "0")
    stored(server, "off")

    assert len(load_predictions(experiment="off", tracking_uri=server.uri)) == 3
    assert not folder.exists()
    monkeypatch.setenv("TIMELAPSE_CACHE_MB", "much")
    with pytest.raises(ConfigError, match="TIMELAPSE_CACHE_MB='much' is no whole number of megabytes"):
        load_predictions(experiment="off", tracking_uri=server.uri)


def test_local_artifacts_are_not_copied(place: Any, folder: Path) -> None:
    load_predictions("first", tracking_uri=place.uri)

    assert not folder.exists() or not list(folder.iterdir())


def test_what_was_used_least_recently_goes_first(folder: Path) -> None:
    cache = Cache.open()
    small = Cache(cache.folder, limit=3500)
    for age, key in enumerate(("old", "used", "new")):
        small.put(key, bytes(1000))
        os.utime(cache.folder / key, (time.time() - 100 + age,) * 2)
    assert small.get("old") is not None  # now the newest
    small.put("more", bytes(1000))
    small.close()

    assert sorted(path.name for path in cache.folder.iterdir()) == ["more", "new", "old"]
    small.put("large", bytes(4000))
    assert small.get("large") is None


def test_what_a_killed_process_left_is_removed(folder: Path) -> None:
    cache = Cache.open()
    (folder / ".x.part").write_bytes(b"half")
    (folder / ".y.part").write_bytes(b"half")
    os.utime(folder / ".x.part", (0, 0))
    cache.put(KEY, b"whole")
    cache.close()

    assert sorted(path.name for path in folder.iterdir()) == [".y.part", KEY]


def test_a_folder_that_others_may_write_to_is_not_used(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.warns(TimelapseWarning, match="open to other users; it is not used"):
        cache = Cache.open()
    cache.put(KEY, b"content")
    assert cache.get(KEY) is None
    folder.rmdir()
    folder.symlink_to(folder.parent)
    with pytest.warns(TimelapseWarning, match="is a link"):
        Cache.open()


def test_a_place_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TIMELAPSE_CACHE", str(tmp_path / "file"))
    cache = Cache.open()
    cache.put(KEY, b"content")

    assert cache.get(KEY) is None
    cache.close()


def test_threads_may_write_read_and_trim_at_once(folder: Path) -> None:
    caches = [Cache(Cache.open().folder, limit=20_000) for _ in range(4)]
    wrong: list[bytes] = []

    def work(cache: Cache) -> None:
        for number in range(200):
            key = f"{number % 10:064d}"
            cache.put(key, key.encode() * 50)
            content = cache.get(key)
            if content not in (None, key.encode() * 50):
                wrong.append(content or b"")
            if number % 20 == 0:
                cache.trim()

    threads = [threading.Thread(target=work, args=(cache,)) for cache in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25_000
