"""How workers find each other, without Ray."""

import socket

import pytest

pytest.importorskip("torch")

from moaa_jobs.training.worker.process_group import gather, host_store


def test_the_port_is_taken_before_anybody_is_told_of_it() -> None:
    store = host_store("127.0.0.1")
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", store.port))


def test_workers_meet_in_the_store_of_the_first() -> None:
    from torch._C._distributed_c10d import TCPStore

    first = host_store("127.0.0.1")
    second = TCPStore(first.host, first.port, is_master=False)
    second.set("from", "second")
    assert first.get("from") == b"second"


def test_workers_wait_for_the_last_however_long_it_takes() -> None:
    store, waits = host_store("127.0.0.1"), 0

    def last_comes_late(_seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 100:
            store.add("moaa/fetch", 1)

    gather(store, "fetch", 2, last_comes_late)
    assert waits == 100
