"""Files by HTTP, from a server that does everything wrong that servers do."""

import os
import random
import re
import resource
import signal
import socket
import time
from functools import partial
from hashlib import md5
from threading import Event, Thread

import pytest
import urllib3
from faulty_server import FaultyServer
from processes import run_in_a_fork

from modeling_resnet50.prepare import download as module
from modeling_resnet50.prepare.download import download, verify
from resnet50_recipe.errors import UserError


CHUNK = 4096
CONTENT = random.Random(0).randbytes(300 * CHUNK + 17)
OTHER = random.Random(1).randbytes(len(CONTENT) - 1000)


Server = partial(FaultyServer, CONTENT, other=OTHER)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", CHUNK)


class Waits(list):
    """In place of sleeping: the seconds, one after the other."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def fetch(server, path, timeout=60.0, **settings):
    waits = Waits()
    download(server.url, path, wait=waits, timeout=timeout, **settings)
    return waits


class RecordedSocket(socket.socket):
    """Keeps what was sent through it, and what has arrived."""

    request = answer = b""

    def sendall(self, data, *flags):
        self.request += bytes(data)
        return super().sendall(data, *flags)

    def recv_into(self, buffer, *arguments):
        count = super().recv_into(buffer, *arguments)
        self.answer += bytes(memoryview(buffer)[:count])
        return count

    @property
    def start(self) -> int:
        """The first byte of the file that was asked for."""
        asked = re.search(rb"Range: bytes=(\d+)-\r\n", self.request)
        return int(asked[1]) if asked else 0

    @property
    def end(self) -> int:
        """Of the file: to which byte it has arrived, if it was the file."""
        head, _, body = self.answer.partition(b"\r\n\r\n")
        expected = f"Content-Range: bytes {self.start}-" if self.start else f"Content-Length: {len(CONTENT)}\r\n"
        return self.start + (len(body) if expected.encode() in head + b"\r\n" else 0)


@pytest.fixture
def connections(monkeypatch) -> list[RecordedSocket]:
    made = []

    def connect(address, timeout, **settings):
        made.append(RecordedSocket())
        made[-1].settimeout(timeout)
        made[-1].connect(address)
        return made[-1]

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
    return made


def test_a_hundred_interruptions_cost_at_most_a_chunk_each(tmp_path, monkeypatch, connections):
    monkeypatch.setattr(module, "MAX_FAILURES", 100)
    kinds = ["cut", "cut", "cut", "reset", "stall", 500, 502, 503, 429, 408, "wrong range", "another page"]
    faults = ["cut", *random.Random(3).choices(kinds, k=99)]
    with Server(faults=faults) as server:
        fetch(server, tmp_path / "file.zip", timeout=0.3, size=len(CONTENT), md5=md5(CONTENT).hexdigest())
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert not server.faults
    assert len(connections) == 101
    arrived = 0
    for connection in connections:
        assert arrived - CHUNK < connection.start <= arrived
        arrived = max(arrived, connection.end)
    assert arrived == len(CONTENT)
    assert sorted(path.name for path in tmp_path.iterdir() if "lock" not in path.name) == ["file.zip"]


@pytest.mark.parametrize("fault", ["changed", 416, "too long", "too short", "ignores the range"])
def test_what_is_not_of_the_same_file_is_fetched_from_the_start(tmp_path, fault):
    with Server(faults=["cut", fault]) as server:
        fetch(server, tmp_path / "file.zip")
    expected = OTHER if fault == "changed" else CONTENT
    assert (tmp_path / "file.zip").read_bytes() == expected


def test_a_file_that_changes_at_every_cut_is_never_put_together_from_two(tmp_path):
    with Server(faults=["cut", "cut", "changed", "cut"]) as server:
        server.faults[2:2] = ["cut"]
        fetch(server, tmp_path / "file.zip")
    assert (tmp_path / "file.zip").read_bytes() == OTHER


def test_a_known_size_unmasks_a_server_that_lies_about_it(tmp_path):
    with Server(faults=["too short", "another page"]) as server:
        waits = fetch(server, tmp_path / "file.zip", size=len(CONTENT))
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    assert len(waits) == 2


def test_wrong_bytes_are_fetched_a_second_time_and_not_a_third(tmp_path):
    known = {"size": len(CONTENT), "md5": md5(CONTENT).hexdigest()}
    with Server(faults=["wrong bytes"]) as server:
        fetch(server, tmp_path / "file.zip", **known)
        assert (tmp_path / "file.zip").read_bytes() == CONTENT
        (tmp_path / "file.zip").unlink()
        server.faults = ["wrong bytes", "wrong bytes"]
        with pytest.raises(UserError, match=f"MD5 sum is .*, not {known['md5']}.*twice in a row: try another address"):
            fetch(server, tmp_path / "file.zip", **known)
        assert not (tmp_path / "file.zip").exists()
        fetch(server, tmp_path / "file.zip", **known)  # the wrong bytes are gone


def test_without_a_validator_nothing_is_resumed(tmp_path):
    with Server(faults=["cut", "cut"], headers=("ranges", "length")) as server:
        fetch(server, tmp_path / "file.zip")
    assert server.log == [0, 0, 0]
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_a_file_of_unannounced_length_comes_whole(tmp_path):
    with Server(headers=("etag", "ranges")) as server:
        fetch(server, tmp_path / "file.zip", md5=md5(CONTENT).hexdigest())
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_the_server_says_how_long_to_wait_otherwise_waits_double_until_bytes_come(tmp_path):
    with Server(faults=[500, 500, 500, 503, "cut", 500]) as server:
        waits = fetch(server, tmp_path / "file.zip")
    assert waits == [1, 2, 4, 7, 1, 2]


def test_refusals_end_at_once_and_say_what_to_do(tmp_path):
    with Server(faults=[404]) as server, pytest.raises(UserError, match=r"HTTP 404 Not Found: choose another"):
        fetch(server, tmp_path / "file.zip")
    assert len(server.log) == 1
    with pytest.raises(UserError, match=r"cannot fetch gopher://example: No connection adapters"):
        download("gopher://example", tmp_path / "file.zip")


def test_a_server_that_stays_away_is_given_up_on_and_nothing_is_lost(tmp_path):
    with Server(faults=["cut", *[500] * 20]) as server:
        with pytest.raises(UserError, match=r"HTTP 500 .* bytes of it are here: the same command goes on"):
            fetch(server, tmp_path / "file.zip")
        assert len(server.log) == 1 + module.MAX_FAILURES
        server.faults = []
        fetch(server, tmp_path / "file.zip")
        assert server.log[-1] > 0
    assert (tmp_path / "file.zip").read_bytes() == CONTENT
    waits = Waits()
    with pytest.raises(UserError, match="cannot fetch"):
        download(server.url, tmp_path / "more.zip", wait=waits)  # nobody listens there any more
    assert len(waits) == module.MAX_FAILURES


@pytest.mark.parametrize("times", [12, pytest.param(40, marks=pytest.mark.long)])
def test_killed_anywhere_it_goes_on_and_loses_at_most_a_chunk(times, tmp_path):
    path = tmp_path / "file.zip"
    known = {"size": len(CONTENT), "md5": md5(CONTENT).hexdigest()}
    with Server() as server:
        for kill in range(times):
            path.unlink(missing_ok=True)
            calls_left = random.Random(kill).randrange(1, 30)

            def count_and_die(done, total, remark):
                nonlocal calls_left
                calls_left -= 1
                if calls_left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            # in turn: in the middle of the content, and at an operation on a file
            settings = {**known, "on_progress": count_and_die} if kill % 2 else known
            operation = None if kill % 2 else 1 + 10 * kill // times
            code = run_in_a_fork(partial(fetch, server, path, **settings), operation)
            assert code in (0, -signal.SIGKILL)
            assert not path.exists() or path.read_bytes() == CONTENT
        fetch(server, path, **known)
    assert path.read_bytes() == CONTENT
    assert sum(start > 0 for start in server.log) > times // 4


def test_a_full_disk_ends_with_a_clear_error_and_the_rest_comes_later(tmp_path):
    path = tmp_path / "file.zip"

    def with_little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 * CHUNK + 5, resource.RLIM_INFINITY))
        with pytest.raises(UserError, match=r"no space left on the disk.*goes on from here"):
            fetch(server, path)

    with Server() as server:
        assert run_in_a_fork(with_little_room) == 0
        assert not path.exists()
        fetch(server, path)
        assert server.log[-1] == 100 * CHUNK + 5
    assert path.read_bytes() == CONTENT


def test_two_processes_do_not_fetch_one_file(tmp_path):
    held = Event()

    def slowly(done, total, remark):
        held.set()
        time.sleep(0.01)

    with Server() as server:
        first = Thread(target=fetch, args=[server, tmp_path / "file.zip"], kwargs={"on_progress": slowly})
        first.start()
        assert held.wait(10)
        with pytest.raises(UserError, match="another process is fetching"):
            fetch(server, tmp_path / "file.zip")
        first.join()
    assert (tmp_path / "file.zip").read_bytes() == CONTENT


def test_what_is_there_is_verified_and_not_fetched(tmp_path):
    path = tmp_path / "file.zip"
    path.write_bytes(CONTENT)
    download("http://127.0.0.1:9/", path, size=len(CONTENT), md5=md5(CONTENT).hexdigest())
    with pytest.raises(UserError, match=r"has 1,228,817 bytes instead of 5: not the right file"):
        download("http://127.0.0.1:9/", path, size=5)
    assert path.read_bytes() == CONTENT
    progress = []
    with pytest.raises(UserError, match="damaged or another file"):
        verify(path, md5="0" * 32, on_progress=lambda *arguments: progress.append(arguments))
    assert progress[-1][0] == len(CONTENT)
