"""How workers find each other, without Ray."""

import socket

import pytest

pytest.importorskip("torch")

from moaa_jobs.training.worker.process_group import host_store


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
