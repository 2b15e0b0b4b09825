"""Archives from strangers: what is not a data set's is refused by name, and what is interrupted goes on."""

import io
import os
import random
import resource
import signal
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from processes import run_in_a_fork
from synthetic_imagenet import tar_bytes

from modeling_resnet50.prepare import archives
from modeling_resnet50.prepare.archives import extract, tar_files, zip_files
from resnet50_recipe.errors import UserError


FILES = {
    f"{folder}/{number}.JPEG": random.Random(number).randbytes(500 * number + 1)
    for folder in "abc"
    for number in range(12)
}


@pytest.fixture
def outside(tmp_path):
    """What an escaping archive would reach: nothing may appear or change here but in `data/`."""
    (tmp_path / "victim").write_text("untouched")
    return tmp_path


def unpack_tar(content: bytes, target: Path) -> None:
    extract(tar_files(io.BytesIO(content), "x.tar"), "x.tar", target, PurePosixPath)


def unpack_zip(path: Path, target: Path) -> None:
    extract(zip_files(path), path.name, target, PurePosixPath)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_what_is_extracted_is_what_tarfile_and_zipfile_extract(tmp_path):
    content = tar_bytes(FILES)
    unpack_tar(content, tmp_path / "ours")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "theirs", filter="data")
    write_zip(tmp_path / "x.zip", FILES)
    unpack_zip(tmp_path / "x.zip", tmp_path / "zip")
    assert snapshot(tmp_path / "ours") == snapshot(tmp_path / "theirs") == snapshot(tmp_path / "zip") == FILES


@pytest.mark.parametrize("name", ["/abs.JPEG", "../victim", "a/../../victim", "..", "a\\..\\victim"])
def test_paths_that_lead_out_are_refused(outside, name):
    content = {"a/1.JPEG": b"1", name: b"2"}
    with pytest.raises(UserError, match=r"x\.tar holds .*, a path that leads out of its folder: refused"):
        unpack_tar(tar_bytes(content), outside / "data")
    write_zip(outside / "x.zip", content)
    with pytest.raises(UserError, match=r"x\.zip holds .*, a path that leads out of its folder: refused"):
        unpack_zip(outside / "x.zip", outside / "data")
    assert (outside / "victim").read_text() == "untouched"
    assert {path.name for path in outside.iterdir()} == {"victim", "x.zip", ".data.unfinished"}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
    ],
)
def test_what_is_no_regular_file_is_refused(outside, kind, words):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("a/1.JPEG")
        entry.type, entry.linkname = kind, "../../victim"
        archive.addfile(entry)
        through = tarfile.TarInfo("a/1.JPEG/2.JPEG")  # what would be written through the link
        through.size = 3
        archive.addfile(through, io.BytesIO(b"new"))
    with pytest.raises(UserError, match=rf"x\.tar holds {words}, 'a/1\.JPEG': refused"):
        unpack_tar(buffer.getvalue(), outside / "data")
    assert (outside / "victim").read_text() == "untouched"
    assert not (outside / "data").exists()


def test_links_in_a_zip_are_refused(outside):
    with zipfile.ZipFile(outside / "x.zip", "w") as archive:
        entry = zipfile.ZipInfo("a/1.JPEG")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "../../victim")
    with pytest.raises(UserError, match=r"holds a link or a device, 'a/1\.JPEG': refused"):
        unpack_zip(outside / "x.zip", outside / "data")


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path, monkeypatch):
    write_zip(tmp_path / "x.zip", {"a/1.JPEG": bytes(50_000_000)})
    with pytest.raises(UserError, match=r"x\.zip would unpack to more than 20 times its size"):
        unpack_zip(tmp_path / "x.zip", tmp_path / "data")
    with pytest.raises(UserError, match=r"x\.tar would unpack to more than 20 times its size"):
        unpack_tar(tar_bytes({"a/1.JPEG": bytes(50_000_000)}, "w:gz"), tmp_path / "data")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 30)
    with pytest.raises(UserError, match="more than 30 entries"):
        unpack_tar(tar_bytes(FILES), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_tar_cut_anywhere_is_refused(tmp_path):
    content = tar_bytes(FILES)
    end = len(content.rstrip(b"\0")) // 512 * 512 + 512  # of the last file; what follows is the end mark
    points = [*range(512, end + 1, 512 * 3), *random.Random(0).sample(range(1, end), 20)]
    for point in points:
        with pytest.raises(UserError, match=r"x\.tar is (truncated or )?damaged"):
            unpack_tar(content[:point], tmp_path / f"data{point}")
        assert not (tmp_path / f"data{point}").exists()


def test_a_flipped_bit_in_any_header_of_a_tar_is_refused(tmp_path):
    content = tar_bytes(FILES)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        offsets = [entry.offset for entry in archive]
    for number, offset in enumerate(offsets):
        damaged = bytearray(content)
        damaged[offset + random.Random(number).randrange(124)] ^= 4  # name, mode, owner
        with pytest.raises(UserError, match=r"damaged|leads out"):
            unpack_tar(bytes(damaged), tmp_path / f"data{number}")


def test_a_flipped_bit_in_any_file_of_a_zip_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(path) as archive:
        starts = [entry.header_offset + 30 + len(entry.filename) for entry in archive.infolist()]
    content = path.read_bytes()
    for number, start in enumerate(starts):
        damaged = bytearray(content)
        damaged[start] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"x\.zip is damaged .*CRC-32"):
            unpack_zip(path, tmp_path / f"data{number}")
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"x\.zip is damaged or no archive"):
        unpack_zip(path, tmp_path / "data")


def test_all_files_are_brought_to_the_disk_at_once_before_the_folder_has_its_name(tmp_path, monkeypatch):
    """One by one, a million files would take days."""
    calls, sync, rename = [], os.sync, os.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    monkeypatch.setattr(os, "sync", lambda: (calls.append("sync"), sync()))
    monkeypatch.setattr(os, "rename", lambda *names: (calls.append("rename"), rename(*names)))
    unpack_tar(tar_bytes(FILES), tmp_path / "data")
    assert calls == ["sync", "rename"]


def test_two_files_for_one_place_are_refused(tmp_path):
    content = tar_bytes({"a/1.JPEG": b"1", "./a/1.JPEG": b"2"})
    with pytest.raises(UserError, match=r"holds two files for a/1\.JPEG"):
        unpack_tar(content, tmp_path / "data")


def test_full_disk_is_said_and_the_next_attempt_goes_on(tmp_path):
    content = tar_bytes(FILES)

    def with_little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        try:
            unpack_tar(content, tmp_path / "data")
        except UserError as error:
            (tmp_path / "said").write_text(str(error))

    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        run_in_a_fork(with_little_room)
    finally:
        signal.signal(signal.SIGXFSZ, previous)
    assert "no space left on the disk" in (tmp_path / "said").read_text()
    assert not (tmp_path / "data").exists()
    written = {path.name for path in (tmp_path / ".data.unfinished").rglob("*.JPEG")}
    assert written  # the small ones
    unpack_tar(content, tmp_path / "data")
    assert snapshot(tmp_path / "data") == FILES


@pytest.mark.parametrize("times", [3, pytest.param(30, marks=pytest.mark.long)])
def test_killed_anywhere_and_started_again_the_result_is_that_of_an_undisturbed_run(times, tmp_path):
    content = tar_bytes(FILES)
    chance = random.Random(0)
    kills = 0
    for number in range(times):
        target = tmp_path / f"data{number}"
        while not target.exists():
            exit_code = run_in_a_fork(lambda: unpack_tar(content, target), kill_at=chance.randrange(1, 75))  # noqa: B023
            kills += exit_code == -signal.SIGKILL
        assert snapshot(target) == FILES
    assert {path.name for path in tmp_path.iterdir()} == {
        f"data{number}" for number in range(times)
    }  # nothing unfinished
    assert kills >= times
