"""Downloads by BitTorrent end as the same bytes, whatever is killed, corrupted or gone in between."""

import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import libtorrent as lt
import pytest

from modeling_resnet50.prepare.torrent import TorrentProgress, TorrentSettings, download_torrent, identify
from resnet50_recipe.errors import UserError


PEER_SCRIPT = Path(__file__).with_name("torrent_seeder.py")
NAME = "archive.tar"
PIECE = 16384
PAYLOAD = random.Random(0).randbytes(8 * 2**20 + 12345)
PIECES = [PAYLOAD[start : start + PIECE] for start in range(0, len(PAYLOAD), PIECE)]
INFO = {
    b"name": NAME.encode(),
    b"length": len(PAYLOAD),
    b"piece length": PIECE,
    b"pieces": b"".join(hashlib.sha1(piece).digest() for piece in PIECES),
}
INFO_HASH = hashlib.sha1(lt.bencode(INFO)).hexdigest()
MAGNET = f"magnet:?xt=urn:btih:{INFO_HASH}"
# Nobody but the peers a test names.
ALONE = {
    "listen_interfaces": "127.0.0.1:0",
    "dht": False,
    "local_discovery": False,
    "port_mapping": False,
    "progress_interval": 0.02,
    "metadata_timeout": 120,
    "stall_timeout": 120,
}


def write_torrent(path: Path, **changes) -> Path:
    path.write_bytes(lt.bencode({b"info": {**INFO, **{key.encode(): value for key, value in changes.items()}}}))
    return path


@pytest.fixture(scope="module")
def torrent(tmp_path_factory) -> Path:
    return write_torrent(tmp_path_factory.mktemp("torrent") / "archive.torrent")


class Peer:
    """`torrent_seeder.py` in a process of its own, whose lines are read as they come."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, str(PEER_SCRIPT), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)

    def __iter__(self):
        return map(json.loads, self.process.stdout)

    def end(self, number: int) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)[1]


class Seeder(Peer):
    def __init__(self, torrent: Path, folder: Path, port: int = 0, rate: int = 0):
        super().__init__("seed", torrent, folder, "--port", port, "--rate", rate)
        self.port = next(iter(self))
        self.address = f"127.0.0.1:{self.port}"


class Downloader(Peer):
    def __init__(self, source, folder: Path, *options, **settings):
        super().__init__("download", source, folder, NAME, json.dumps({**ALONE, **settings}), *options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with the payload in it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / NAME).write_bytes(PAYLOAD)
    return folder


@pytest.fixture(scope="module")
def seeder(torrent, whole):
    with Seeder(torrent, whole) as seeder:
        yield seeder


@pytest.fixture
def quarter_seeder(torrent, tmp_path_factory):
    """
    Has every fourth piece, 2.1 MB: who downloads from it is stopped on the way, however slow we are. One for each
    test, as it takes what it lacks from whoever has it.
    """
    with Seeder(torrent, write_pieces(tmp_path_factory.mktemp("quarter"), [0])) as seeder:
        yield seeder


@pytest.fixture
def half_seeder(torrent, tmp_path_factory):
    """Has the pieces of `quarter_seeder`, and as many more."""
    with Seeder(torrent, write_pieces(tmp_path_factory.mktemp("half"), [0, 1])) as seeder:
        yield seeder


def write_pieces(folder: Path, wanted: list[int]) -> Path:
    """A file in which, of each four pieces, only some are right."""
    folder.mkdir(exist_ok=True)
    with open(folder / NAME, "wb") as file:
        for number, piece in enumerate(PIECES):
            file.write(piece if number % 4 in wanted else bytes(len(piece)))
    return folder


@pytest.fixture(scope="module")
def slow_seeder(torrent, whole):
    """8 MB/s: usually slow enough to be stopped on the way."""
    with Seeder(torrent, whole, rate=8_000_000) as seeder:
        yield seeder


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody answers: bound, so that no other process takes it, but not listening."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{closed.getsockname()[1]}"


def download(source, folder: Path, *peers: str, progress=None, **options) -> Path:
    expected = {"expected_name": NAME, "expected_size": len(PAYLOAD)}
    expected |= {key: options.pop(key) for key in list(options) if key.startswith("expected_")}
    settings = TorrentSettings(**{**ALONE, "peers": peers, **options})
    take = progress.append if progress is not None else lambda step: None
    return download_torrent(source, folder, **expected, settings=settings, on_progress=take)


def good_bytes(part: Path) -> int:
    """How much of a file is right, by SHA-1 of its pieces."""
    with open(part, "rb") as file:
        return sum(len(piece) for piece in PIECES if file.read(PIECE) == piece)


def start_alone(source, folder: Path) -> list[TorrentProgress]:
    """A start that downloads nothing: it finds out what is there."""
    progress: list[TorrentProgress] = []
    with pytest.raises(UserError, match=r"no (peers|new bytes)"):
        # The resume file names peers; at this rate they do not even get through a handshake.
        download(source, folder, progress=progress, download_rate=1, stall_timeout=0.3)
    return progress


def stop_at(number: int, done: int, source, folder: Path, peer: str) -> None:
    """Start a download, and end it with a signal as soon as it has so many bytes."""
    with Downloader(source, folder, peers=[peer]) as downloader:
        for step in downloader:
            if step["state"] == "downloading" and step["done"] >= done:
                break
        downloader.end(number)


def corrupt(path: Path, offset: int, length: int = 1) -> None:
    with open(path, "rb+") as file:
        file.seek(offset)
        bad = bytes(255 - byte for byte in file.read(length))
        file.seek(offset)
        file.write(bad)


def first_finished_piece(part: Path) -> int:
    with open(part, "rb") as file:
        return next(number for number, piece in enumerate(PIECES) if file.read(PIECE) == piece)


# Whole downloads


@pytest.mark.parametrize("kind", ["magnet", "torrent", "info-hash"])
def test_every_kind_of_source_gives_the_file_and_nothing_beside_it(kind, torrent, seeder, tmp_path):
    source = {"magnet": MAGNET, "torrent": torrent, "info-hash": INFO_HASH.upper()}[kind]
    progress: list[TorrentProgress] = []
    path = download(source, tmp_path, seeder.address, progress=progress, expected_info_hash=INFO_HASH.upper())
    assert path == tmp_path / NAME
    assert path.read_bytes() == PAYLOAD
    assert {entry.name for entry in tmp_path.iterdir()} <= {NAME, ".torrent.lock"}
    assert progress[-1].done == progress[-1].total == len(PAYLOAD)
    assert (progress[0].total is None) == (kind != "torrent")  # before the metadata, nobody knows


def test_peer_that_is_away_does_not_hide_another_at_the_same_address(torrent, seeder, nobody, tmp_path):
    assert download(torrent, tmp_path / "1", nobody, seeder.address).read_bytes() == PAYLOAD
    assert download(torrent, tmp_path / "2", seeder.address, nobody).read_bytes() == PAYLOAD


def test_file_has_its_name_only_when_it_is_whole(torrent, half_seeder, seeder, tmp_path):
    names, watch = [], SimpleNamespace(append=lambda step: names.append({entry.name for entry in tmp_path.iterdir()}))
    with pytest.raises(UserError, match="no new bytes"):
        download(torrent, tmp_path, half_seeder.address, progress=watch, stall_timeout=1)
    assert names[-1] == {f".{NAME}.part", f".{NAME}.resume", ".torrent.lock"}
    download(torrent, tmp_path, seeder.address, progress=watch)
    assert not any(NAME in seen for seen in names)


def test_file_that_is_there_is_not_downloaded_again(tmp_path):
    (tmp_path / NAME).write_bytes(PAYLOAD)
    assert download(MAGNET, tmp_path) == tmp_path / NAME
    (tmp_path / NAME).write_bytes(PAYLOAD[:-1])
    with pytest.raises(UserError, match="in the way"):
        download(MAGNET, tmp_path)


def test_rate_limit_holds_on_the_local_network_too(torrent, seeder, tmp_path):
    started = time.monotonic()
    rate = 4 * 2**20
    download(torrent, tmp_path, seeder.address, download_rate=rate)
    # A lower bound, which a slow machine cannot break. Without a limit it takes a tenth of that.
    assert time.monotonic() - started > 0.5 * len(PAYLOAD) / rate


# Stopped and started again


@pytest.mark.parametrize("wanted", [5, pytest.param(30, marks=pytest.mark.long)])
def test_kills_and_corrupted_bytes_in_between_end_as_the_right_file(wanted, slow_seeder, tmp_path):
    seed = 20260101
    print(f"seed {seed}")
    rng = random.Random(seed)
    part, kills, states = tmp_path / f".{NAME}.part", 0, set()
    while kills < wanted:
        with Downloader(MAGNET, tmp_path, peers=[slow_seeder.address]) as downloader:
            first, more = None, rng.randrange(len(PAYLOAD) // 6)
            for step in downloader:
                if "path" in step:  # it was faster than we: on with the next file
                    assert hashlib.sha256((tmp_path / NAME).read_bytes()).digest() == hashlib.sha256(PAYLOAD).digest()
                    (tmp_path / NAME).unlink()
                    break
                first = step["done"] if first is None or step["state"] != "downloading" else first
                if step["done"] - first >= more or kills % 10 == 0:
                    states.add(step["state"])
                    break
            downloader.end(signal.SIGKILL)
            kills += downloader.process.returncode == -signal.SIGKILL
        if part.exists() and part.stat().st_size and rng.random() < 0.5:
            for _ in range(rng.randint(1, 4)):
                corrupt(part, rng.randrange(part.stat().st_size), rng.randint(1, 40_000))
    assert "downloading" in states
    path = download(MAGNET, tmp_path, slow_seeder.address)
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(PAYLOAD).digest()


def test_after_a_kill_the_pieces_on_disk_are_hashed_anew(torrent, quarter_seeder, half_seeder, seeder, tmp_path):
    part = tmp_path / f".{NAME}.part"
    # Killed after a clean stop has vouched for pieces: a start must take that back.
    stop_at(signal.SIGINT, 1_000_000, torrent, tmp_path, quarter_seeder.address)
    vouched = start_alone(torrent, tmp_path)[-1].done
    times = part.stat()
    stop_at(signal.SIGKILL, vouched + 1_500_000, torrent, tmp_path, half_seeder.address)
    corrupt(part, first_finished_piece(part) * PIECE + 77)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert 1_000_000 < good_bytes(part) < len(PAYLOAD)
    assert start_alone(torrent, tmp_path)[-1].done == good_bytes(part)
    assert download(torrent, tmp_path, seeder.address).read_bytes() == PAYLOAD


def test_clean_stop_vouches_for_the_pieces_while_the_file_is_untouched(torrent, quarter_seeder, seeder, tmp_path):
    part = tmp_path / f".{NAME}.part"
    stop_at(signal.SIGINT, 1_000_000, torrent, tmp_path, quarter_seeder.address)
    kept = good_bytes(part)
    assert kept >= 1_000_000 - PIECE
    times = part.stat()
    corrupt(part, first_finished_piece(part) * PIECE)
    os.utime(part, ns=(times.st_atime_ns, times.st_mtime_ns))
    # Behind its back, which shows that nothing was hashed. (A partial piece may count besides.)
    assert start_alone(torrent, tmp_path)[-1].done > good_bytes(part)
    os.utime(part)
    assert start_alone(torrent, tmp_path)[-1].done == good_bytes(part)
    assert download(torrent, tmp_path, seeder.address).read_bytes() == PAYLOAD


def test_interrupted_download_stops_cleanly_and_goes_on(half_seeder, seeder, torrent, tmp_path):
    def interrupt(step):
        if step.done > 3_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(torrent, tmp_path, half_seeder.address, progress=SimpleNamespace(append=interrupt))
    progress: list[TorrentProgress] = []
    path = download(torrent, tmp_path, seeder.address, progress=progress)
    assert path.read_bytes() == PAYLOAD
    assert min(step.done for step in progress if step.state == "downloading") > 3_000_000 - PIECE


def test_metadata_is_kept_for_the_next_start(quarter_seeder, tmp_path):
    stop_at(signal.SIGKILL, 100_000, MAGNET, tmp_path, quarter_seeder.address)
    assert {step.total for step in start_alone(MAGNET, tmp_path)} == {len(PAYLOAD)}


def test_damaged_resume_file_costs_hashing_and_no_more(torrent, quarter_seeder, tmp_path):
    stop_at(signal.SIGINT, 1_000_000, torrent, tmp_path, quarter_seeder.address)
    resume = tmp_path / f".{NAME}.resume"
    resume.write_bytes(resume.read_bytes()[:-50])
    assert start_alone(torrent, tmp_path)[-1].done == good_bytes(tmp_path / f".{NAME}.part") > 900_000


def test_file_on_disk_that_is_too_long_is_cut(torrent, seeder, tmp_path):
    (tmp_path / f".{NAME}.part").write_bytes(PAYLOAD + b"more")
    assert download(torrent, tmp_path, seeder.address).read_bytes() == PAYLOAD


def test_seeder_that_goes_and_comes_back_is_found_again(torrent, whole, tmp_path):
    with Seeder(torrent, write_pieces(tmp_path / "half", [0, 1])) as seeder:
        downloader = Downloader(torrent, tmp_path, peers=[seeder.address])
        steps = iter(downloader)
        next(step for step in steps if step["done"] > 1_000_000)
        seeder.process.communicate(timeout=60)  # a killed one would be missed only when its connection times out
    with downloader:
        next(step for step in steps if step["peers"] == 0)
        with Seeder(torrent, whole, port=seeder.port):
            assert {"path": str(tmp_path / NAME)} in steps
    assert (tmp_path / NAME).read_bytes() == PAYLOAD


@pytest.mark.parametrize(("largest_file", "name"), [(1_000_000, "part"), (1_000, "resume")])
def test_failing_disk_ends_with_one_line_and_the_next_start_goes_on(largest_file, name, torrent, seeder, tmp_path):
    with Downloader(torrent, tmp_path, "--largest-file", largest_file, peers=[seeder.address]) as downloader:
        _, errors = downloader.process.communicate(timeout=60)
    assert downloader.process.returncode == 2
    assert re.fullmatch(rf"error: cannot write .*\.{name}: File too large; .*: what is there is kept\n", errors)
    assert download(torrent, tmp_path, seeder.address).read_bytes() == PAYLOAD


def test_two_processes_in_one_folder_are_one_too_many(torrent, tmp_path):
    with Downloader(torrent, tmp_path, peers=[]) as downloader:
        next(iter(downloader))
        with pytest.raises(UserError, match="another process"):
            download(torrent, tmp_path)


# Stalls


def test_without_metadata_it_says_so_and_stops(nobody, tmp_path):
    progress: list[TorrentProgress] = []
    with pytest.raises(UserError, match=r"no metadata from 0 connected peers .*a \.torrent file.*DHT on"):
        download(MAGNET, tmp_path, nobody, progress=progress, metadata_timeout=0.5)
    assert [step.state for step in progress] == ["metadata"] * len(progress)
    assert progress[-1].idle_seconds > 0.5 > progress[0].idle_seconds


def test_without_peers_it_says_so_and_stops(torrent, nobody, tmp_path):
    with pytest.raises(UserError, match=r"no peers for .*--peer host:port.*HTTP"):
        download(torrent, tmp_path, nobody, stall_timeout=0.5)


def test_without_new_bytes_it_says_so_and_keeps_what_it_has(torrent, half_seeder, tmp_path):
    half = sum(len(piece) for number, piece in enumerate(PIECES) if number % 4 in (0, 1))
    with pytest.raises(UserError, match=r"no new bytes from 1 connected peer for .*missing pieces"):
        download(torrent, tmp_path, half_seeder.address, stall_timeout=5)
    assert good_bytes(tmp_path / f".{NAME}.part") == half
    assert start_alone(torrent, tmp_path)[-1].done == half


# Refusals


@pytest.mark.parametrize("kind", ["magnet", "torrent"])
@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"expected_name": "other.tar"}, "holds 'archive.tar', not 'other.tar'"),
        ({"expected_size": 5}, r"has 8,400,953 bytes, not 5"),
        ({"expected_info_hash": "0" * 40}, f"is {INFO_HASH}, not 0000"),
    ],
)
def test_other_torrent_than_expected_is_refused_before_anything_is_written(
    kind, expected, message, torrent, seeder, tmp_path
):
    with pytest.raises(UserError, match=message):
        download(MAGNET if kind == "magnet" else torrent, tmp_path, seeder.address, **expected)
    assert {entry.name for entry in tmp_path.iterdir()} <= {".torrent.lock"}


@pytest.mark.parametrize("name", [b"../evil.tar", b"/etc/evil.tar", b"folder/evil.tar", b"evil\x00.tar", b"\xff.tar"])
def test_file_name_that_is_not_plain_is_refused(name, tmp_path):
    source = write_torrent(tmp_path / "evil.torrent", name=name)
    with pytest.raises(UserError, match="refused"):
        download(source, tmp_path / "folder", expected_name=None)
    assert {entry.name for entry in (tmp_path / "folder").iterdir()} <= {".torrent.lock"}


@pytest.mark.parametrize(("paths", "message"), [([b"..", b"evil"], "refused"), ([b"a"], "2 files")])
def test_torrent_of_a_folder_is_refused(paths, message, tmp_path):
    files = [{b"path": paths, b"length": len(PAYLOAD)}]
    if message == "2 files":
        files = [{b"path": paths, b"length": 1}, {b"path": [b"b"], b"length": len(PAYLOAD) - 1}]
    info = {key: value for key, value in INFO.items() if key != b"length"}
    source = tmp_path / "folder.torrent"
    source.write_bytes(lt.bencode({b"info": {**info, b"files": files}}))
    with pytest.raises(UserError, match=message):
        download(source, tmp_path / "folder", expected_name=None)


def test_unfinished_file_of_another_torrent_is_left_alone(torrent, quarter_seeder, tmp_path):
    stop_at(signal.SIGKILL, 1_000_000, torrent, tmp_path, quarter_seeder.address)
    other = write_torrent(tmp_path / "other.torrent", source=b"another edition")
    with pytest.raises(UserError, match=f"of another torrent .*{INFO_HASH}"):
        download(other, tmp_path, quarter_seeder.address)


def test_torrent_is_identified_without_joining_it(torrent):
    assert identify(torrent) == (INFO_HASH, NAME)
    assert identify(MAGNET) == (INFO_HASH, None)
    assert identify(f"magnet:?xt=urn:btih:{INFO_HASH}&dn=other.tar") == (INFO_HASH, "other.tar")
    assert identify(INFO_HASH) == (INFO_HASH, None)


def test_sources_that_cannot_be_read_say_why(torrent, tmp_path):
    damaged = tmp_path / "damaged.torrent"
    damaged.write_bytes(torrent.read_bytes()[:-100])
    for source, message in [
        (damaged, "damaged, or no torrent file"),
        (tmp_path / "missing.torrent", "no torrent file: No such file"),
        (INFO_HASH[:-1], "no info-hash of 40 hexadecimal digits"),
        (MAGNET[:-1], "cannot read the magnet link .*40 hexadecimal digits"),
        ("magnet:?dn=archive.tar", "cannot read the magnet link"),
    ]:
        with pytest.raises(UserError, match=message):
            download(source, tmp_path)


def test_settings_that_cannot_be_are_refused(torrent, tmp_path):
    for peer in ("127.0.0.1", "127.0.0.1:", ":6881", "127.0.0.1:99999", "127.0.0.1:port"):
        with pytest.raises(UserError, match="must be host:port"):
            download(torrent, tmp_path, peer)
    with pytest.raises(UserError, match="cannot be found"):
        download(torrent, tmp_path, "no..host:80")
    with pytest.raises(UserError, match="download_rate must be at least 1"):
        TorrentSettings(download_rate=0)


def test_missing_libtorrent_names_the_extra(torrent, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libtorrent", None)
    with pytest.raises(UserError, match=r"\(libtorrent\): pip install 'modeling-resnet50\[torrent\]'"):
        download(torrent, tmp_path)


def test_a_libtorrent_that_does_not_load_says_why(torrent, tmp_path, monkeypatch):
    reason = "libssl.so.1.1: cannot open shared object file: No such file or directory"
    (tmp_path / "libtorrent.py").write_text(f"raise ImportError({reason!r}, name='libtorrent')")
    monkeypatch.delitem(sys.modules, "libtorrent")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=re.escape(f"BitTorrent needs more packages ({reason}): pip install")):
        download(torrent, tmp_path)
