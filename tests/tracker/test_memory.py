"""Arrow's setting for memory, which belongs to the user's process, is as it was after a reading."""

import threading

import pyarrow as pa
import pytest

from timelapse.reading.memory import system_memory


@pytest.fixture(autouse=True)
def _default_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)


def test_the_pool_of_the_process_comes_back() -> None:
    before = pa.default_memory_pool().backend_name
    with pytest.raises(ZeroDivisionError), system_memory():
        assert pa.default_memory_pool().backend_name == "system"
        table = pa.table({"column": list(range(1000))})
        raise ZeroDivisionError
    assert pa.default_memory_pool().backend_name == before
    assert table.column("column")[999].as_py() == 999


def test_the_last_of_several_readers_puts_it_back() -> None:
    before = pa.default_memory_pool().backend_name
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with system_memory():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with system_memory():
        thread.start()
        assert entered.wait(10)
    assert pa.default_memory_pool().backend_name == "system"
    leave.set()
    thread.join()
    assert pa.default_memory_pool().backend_name == before


def test_a_pool_that_the_user_chose_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "mimalloc")
    before = pa.default_memory_pool().backend_name
    with system_memory():
        assert pa.default_memory_pool().backend_name == before
