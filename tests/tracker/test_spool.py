"""The spool: whole or not at all, private, bounded, and held by one process at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from timelapse.errors import SpoolError
from timelapse.writing import spool as spool_module
from timelapse.writing.entries import DamagedEntryError, entry_at, pack, pack_table, unpack, unpack_table
from timelapse.writing.spool import Header, Spool, read_header, spool_folders


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIMELAPSE_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def header(**settings: object) -> Header:
    return Header("0" * 32, "http://127.0.0.1:5000", owned=True, start_time=1, **settings)  # type: ignore[arg-type]


def test_entries_come_back_in_their_order_from_another_process(root: Path) -> None:
    spool = Spool.create(header(scorers={"mine": "package:score"}))
    table = pa.table({"prediction": ["went", None], "reward": [0.5, None]})
    spool.put("numbers", pack({"tags": {"a": "1"}}))
    spool.put("round", pack_table(table, {"time": 7}))
    spool.close(remove=False)

    [folder] = spool_folders()
    taken = Spool.take(folder)
    assert taken is not None
    assert taken.header == spool.header
    first, second = taken.entries()
    assert (first.number, first.kind, unpack(first.read())) == (1, "numbers", {"tags": {"a": "1"}})
    assert (second.number, second.kind) == (2, "round")
    read, about = unpack_table(second.read())
    assert read.equals(table)
    assert about == {"time": 7}
    assert taken.put("numbers", b"{}").number == 3
    taken.discard(first)
    assert [entry.number for entry in taken.entries()] == [2, 3]
    taken.close(remove=True)
    assert not folder.exists()


def test_everything_is_private(root: Path) -> None:
    before = os.umask(0)
    try:
        spool = Spool.create(header())
        spool.put("numbers", b"{}")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}
    assert modes[root.name] == modes[spool.folder.name] == 0o700
    assert {mode for name, mode in modes.items() if name not in (root.name, spool.folder.name)} == {0o600}
    spool.close(remove=True)


def test_a_cut_or_altered_entry_is_recognised(root: Path) -> None:
    spool = Spool.create(header())
    path = spool.put("numbers", pack({"tags": {"a": "1"}})).path
    assert path is not None
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole.replace(b"1", b"2"), b""):
        path.write_bytes(damaged)
        with pytest.raises(DamagedEntryError, match="is damaged: its content does not fit its name"):
            spool.entries()[0].read()
    path.unlink()
    entry = entry_at(path)
    assert entry is not None
    with pytest.raises(DamagedEntryError, match="is gone"):
        entry.read()
    spool.close(remove=True)


def test_what_was_being_written_at_the_time_of_death_is_no_entry(root: Path) -> None:
    spool = Spool.create(header())
    (spool.folder / ".00000001-round-00000000.part").write_bytes(b"ARROW1 half a rou")
    assert spool.entries() == []
    assert [path.name for path in spool.unfinished()] == [".00000001-round-00000000.part"]
    spool.close(remove=True)


def test_links_and_folders_that_others_may_write_are_refused(root: Path, tmp_path: Path) -> None:
    spool = Spool.create(header())
    entry = spool.put("numbers", b"{}")
    assert entry.path is not None
    (spool.folder / "00000002-numbers-a3a3a3a3").symlink_to(entry.path)
    assert [entry.number for entry in spool.entries()] == [1], "a link is no entry"
    spool.close(remove=False)

    (root / "20260101-000000-link").symlink_to(spool.folder)
    with pytest.raises(SpoolError, match="links are not followed"):
        Spool.take(root / "20260101-000000-link")
    spool.folder.chmod(0o770)
    with pytest.raises(SpoolError, match=r"can be written by others: .*`chmod 700 "):
        Spool.take(spool.folder)
    root.chmod(0o777)
    with pytest.raises(SpoolError, match="can be written by others"):
        Spool.create(header())
    with pytest.raises(SpoolError, match="can be written by others"):
        list(spool_folders())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_refused(root: Path) -> None:
    spool = Spool.create(header())
    spool.close(remove=False)
    os.chown(spool.folder, 65534, 65534)
    with pytest.raises(SpoolError, match=r"belongs to another user: .* chown"):
        Spool.take(spool.folder)


def test_only_folders_with_a_name_of_ours_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TIMELAPSE_SPOOL may be a folder with other things in it: an empty one is not ours to clear away."""
    spool = Spool.create(header())
    spool.close(remove=False)
    (root / "empty").mkdir()
    (root / "notes.txt").write_text("mine")
    stillborn = root / "20260101-000000-00000000"
    stillborn.mkdir()
    half_cleared = root / ".20260101-000000-00000001.gone"
    half_cleared.mkdir()
    for folder in (root / "empty", stillborn, half_cleared):
        os.utime(folder, (1, 1))
    assert list(spool_folders()) == [spool.folder]
    assert sorted(path.name for path in root.iterdir()) == sorted(["empty", "notes.txt", spool.folder.name])

    real = Path.iterdir

    def denied(path: Path) -> object:
        if path == spool.folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert list(spool_folders()) == [spool.folder], "one that cannot be looked into hides no other"


def test_a_folder_that_is_done_goes_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sync must not meet half of it: its name is gone before its files are."""
    spool = Spool.create(header())
    spool.put("numbers", b"{}")
    there: list[bool] = []
    real = shutil.rmtree

    def look(path: Path, **settings: bool) -> None:
        there.append(spool.folder.exists())
        real(path, **settings)

    monkeypatch.setattr(shutil, "rmtree", look)
    spool.close(remove=True)
    assert there[0] is False
    assert list(root.iterdir()) == []


def test_a_folder_is_held_by_one_process_and_free_when_it_is_killed(root: Path) -> None:
    code = (
        "import time; from timelapse.writing.spool import Header, Spool;"
        "spool = Spool.create(Header(None, None, owned=True, start_time=1)); spool.put('numbers', b'{}');"
        "print(spool.folder, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        folder = Path(process.stdout.readline().strip())
        assert Spool.take(folder) is None
        process.kill()
    taken = Spool.take(folder)
    assert taken is not None
    assert len(taken.entries()) == 1
    taken.close(remove=True)


def test_the_size_is_bounded_and_the_message_says_what_to_do(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELAPSE_SPOOL_MB", "0.01")
    spool = Spool.create(header())
    first = spool.put("numbers", b"x" * 6000)
    with pytest.raises(SpoolError, match=r"has reached its limit of 0.01 MB, .*`timelapse sync`"):
        spool.put("numbers", b"x" * 6000)
    spool.discard(first)
    spool.put("numbers", b"x" * 6000)
    spool.close(remove=True)


def test_what_a_run_keeps_until_its_end_takes_room_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMELAPSE_SPOOL_MB", "0.01")
    spool = Spool.create(header())
    for step in range(3):
        spool.discard(spool.put("round", b"x" * 3000))
        spool.stored.mkdir(exist_ok=True)
        (spool.stored / f"round-{step}.parquet").write_bytes(b"x" * 3000)
    with pytest.raises(SpoolError, match="and the rounds of runs that go on"):
        spool.put("round", b"x" * 3000)
    spool.close(remove=True)


def test_a_full_spool_is_not_counted_anew_at_every_step_of_a_training(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold thousands of files, and `put` is called in the training's thread."""
    monkeypatch.setenv("TIMELAPSE_SPOOL_MB", "0.01")
    other = Spool.create(header())
    (other.folder / "big").write_bytes(bytes(10_000))
    made = Spool.create(header())
    counted, real = list[Path](), spool_module._size

    def size(folder: Path) -> int:
        counted.append(folder)
        return real(folder)

    monkeypatch.setattr(spool_module, "_size", size)
    for _ in range(10):
        with pytest.raises(SpoolError, match="has reached its limit"):
            made.put("numbers", b"{}")
    assert counted == []
    other.close(remove=True)
    made.put("round", b"x")
    assert len(counted) == 1, "a round looks"
    made.put("numbers", b"{}")
    made.close(remove=True)


def test_a_size_that_is_none_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMELAPSE_SPOOL_MB", "lots")
    with pytest.raises(SpoolError, match="TIMELAPSE_SPOOL_MB='lots' is no size"):
        Spool.create(header())


def test_a_folder_that_does_not_say_whose_it_is_is_an_error(root: Path) -> None:
    spool = Spool.create(header())
    spool.close(remove=False)
    (spool.folder / "run.json").write_text("{")
    with pytest.raises(SpoolError, match=r"run\.json cannot be read"):
        read_header(spool.folder)
    with pytest.raises(SpoolError, match="does not say which run"):
        Spool.take(spool.folder)
