"""`resnet50 prepare` as its users run it, on a small ImageNet that is laid out as the real one."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from hashlib import md5
from pathlib import Path

import datasets
import libtorrent as lt
import pytest
from faulty_server import FaultyServer
from shared import PROJECT, tiny_arguments
from synthetic_imagenet import WNIDS, make_imagenet, make_kaggle, make_tiny_imagenet

from modeling_resnet50.commands import places
from modeling_resnet50.commands import prepare as command
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.prepare.check import Expected
from modeling_resnet50.prepare.known_files import KnownFile
from resnet50_cli import main
from resnet50_recipe.errors import UserError


SIX = Expected("six classes", {"train": 24, "validation": 18}, 6, {"train": (4, 4), "validation": (3, 3)})


@pytest.fixture
def imagenet(tmp_path, monkeypatch):
    """The archives in `archives/`; the command believes that they are the real ones."""
    made = make_imagenet(tmp_path / "archives")
    monkeypatch.setattr(command, "IMAGENET_1K", made.files)
    monkeypatch.setitem(command.EXPECTATIONS, "imagenet1k", SIX)
    monkeypatch.setitem(command.EXPECTATIONS, "tiny-imagenet", SIX)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def prepare(capsys, monkeypatch):
    """Run the command, in this process unless it is told to use more; gives what it printed."""

    def run(*arguments, exit_code: int = 0) -> str:
        ended_with = 0
        try:
            with monkeypatch.context() as patched:
                patched.setattr(os, "cpu_count", lambda: 1)
                main(["prepare", *map(str, arguments)])
        except SystemExit as exit:
            ended_with = exit.code
        captured = capsys.readouterr()
        assert ended_with == exit_code, captured.err
        return captured.out + captured.err

    return run


def labels_of(folder: Path, split: str) -> dict[str, str]:
    """File name → wnid."""
    rows = load_splits(str(folder))[split].cast_column("image", datasets.Image(decode=False))
    names = rows.features["label"].names
    return {Path(image["path"]).name: names[label] for image, label in zip(rows["image"][:], rows["label"][:])}


def test_from_archives_to_a_verified_packed_data_set(imagenet, prepare):
    output = prepare("imagenet1k", "--from", "archives", "--to", "data", "--pack", "--short_side", "24")
    steps = [line.split()[0] for line in output.splitlines()]
    assert [step for i, step in enumerate(steps) if step not in steps[:i]] == [
        "verify", "label", "extract", "check", "report", "pack", "ready",
    ]  # fmt: skip
    assert "Six classes, whole and right: 6 classes, 24 train + 18 val images, every one decoded" in output
    assert output.splitlines()[-1].endswith("train with --dataset_name data/packed-24")
    assert (Path("data") / "check.html").read_text().count("data:image/jpeg") == 6 * 4 + 6
    for folder, split in (("data", "val"), ("data/packed-24", "validation")):
        assert labels_of(Path(folder), split) == imagenet.truth
    again = prepare("imagenet1k", "--from", "archives", "--to", "data", "--pack", "--short_side", "24")
    assert "train and val are there already" in again
    assert "verify" not in again


def test_a_damaged_archive_is_named_before_anything_is_extracted(imagenet, prepare):
    path = Path("archives") / "ILSVRC2012_img_val.tar"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    output = prepare("imagenet1k", "--from", "archives", "--to", "data", exit_code=2)
    assert re.search(r"error: .*ILSVRC2012_img_val\.tar is damaged or another file: its MD5 sum is", output)
    assert [path.name for path in Path("data").glob("*")] == [".verified.json"]  # the development kit
    path.unlink()
    assert "archives holds no ILSVRC2012_img_val.tar" in prepare(
        "imagenet1k", "--from", "archives", "--to", "data", exit_code=2
    )


def make_torrent(file: Path, to: Path) -> Path:
    content, piece = file.read_bytes(), 16384
    pieces = [hashlib.sha1(content[start : start + piece]).digest() for start in range(0, len(content), piece)]
    info = {b"name": file.name.encode(), b"length": len(content), b"piece length": piece, b"pieces": b"".join(pieces)}
    to.write_bytes(lt.bencode({b"info": info}))
    return to


def test_from_bittorrent(imagenet, prepare, tmp_path):
    files = imagenet.files
    seeders, options = [], []
    try:
        for known in (files.train, files.val, files.devkit):
            torrent = make_torrent(tmp_path / "archives" / known.name, tmp_path / f"{known.name}.torrent")
            arguments = [
                sys.executable,
                PROJECT / "tests" / "torrent_seeder.py",
                "seed",
                torrent,
                tmp_path / "archives",
            ]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            seeders.append(subprocess.Popen(arguments, **pipes))
            options += ["--peer", f"127.0.0.1:{seeders[-1].stdout.readline().strip()}"]
            if known == files.train:
                options += ["--torrent", torrent]
            else:
                info_hash = lt.torrent_info(str(torrent)).info_hash()
                options += ["--magnet", f"magnet:?xt=urn:btih:{info_hash}&dn={known.name}"]
        output = prepare("imagenet1k", "--to", "data", "--no_dht", "--listen", "127.0.0.1:0", *options)
    finally:
        for seeder in seeders:
            seeder.kill()
            seeder.communicate()
    assert "ILSVRC2012_img_train.tar by BitTorrent" in output
    assert "whole and right" in output
    assert labels_of(Path("data"), "val") == imagenet.truth


def test_a_swarm_without_peers_is_named_with_what_to_try(imagenet, prepare):
    options = ["--no_dht", "--listen", "127.0.0.1:0", "--stall_timeout", "0.2", "--devkit",
               "archives/ILSVRC2012_devkit_t12.tar.gz", "--torrent",
               make_torrent(Path("archives") / "ILSVRC2012_img_val.tar", Path("val.torrent"))]  # fmt: skip
    output = prepare("imagenet1k", "--to", "data", *options, exit_code=2)
    assert "error: " in output
    assert "Kaggle or on the Hub" in output


def test_tiny_imagenet_by_http_trains_with_its_recipe(imagenet, prepare, monkeypatch, tmp_path, train):
    truth = make_tiny_imagenet(tmp_path / "tiny.zip")
    content = (tmp_path / "tiny.zip").read_bytes()
    known = KnownFile("tiny-imagenet-200.zip", len(content), md5(content).hexdigest())
    monkeypatch.setattr(command, "TINY_IMAGENET", known)
    with FaultyServer(content, faults=["cut"]) as server:
        monkeypatch.setattr("modeling_resnet50.prepare.download.FIRST_WAIT", 0.01)
        output = prepare("tiny-imagenet", "--to", "data", "--url", server.url)
    assert "whole and right" in output
    assert labels_of(Path("data"), "val") == truth
    shutil.rmtree("data")
    (tmp_path / "tiny.zip").rename(tmp_path / "archives" / known.name)
    prepare("tiny-imagenet", "--to", "data", "--from", "archives")
    arguments = tiny_arguments("data", tmp_path / "run", image_size=64, num_train_epochs=1, warmup_epochs=0)
    arguments[1] = str(PROJECT / "recipes" / "tiny_imagenet.yaml")
    train(arguments)
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["epoch"] == 1


def test_what_lies_here_is_packed_and_checked(imagenet, prepare):
    truth = make_kaggle(Path("kaggle"))
    prepare("folder", "kaggle", "--to", "out", "--pack", "--short_side", "none", "--num_proc", "2")
    assert labels_of(Path("out") / "packed-original", "validation") == truth
    assert "Six classes, whole and right" in prepare("check", "kaggle", "--expect", "imagenet1k")


def test_the_report_lies_in_reports_or_where_the_last_line_says(imagenet, prepare, monkeypatch, tmp_path):
    make_kaggle(Path("elsewhere/kaggle"))
    output = prepare("check", "elsewhere/kaggle")
    report = Path("reports/check-kaggle.html")
    assert output.splitlines()[-1] == f"report   with pictures: {report}"
    assert report.is_file()
    assert [path.name for path in Path("elsewhere").iterdir()] == ["kaggle"]
    report.unlink()

    def read_only(folder, what):
        raise UserError(f"{what} {folder}: Read-only file system")

    monkeypatch.setattr(places, "require_writable", read_only)
    place = Path(prepare("check", "elsewhere/kaggle").splitlines()[-1].removeprefix("report   with pictures: "))
    assert place.is_file()
    assert not place.is_relative_to(tmp_path)
    assert not report.exists()
    monkeypatch.setattr(command, "check_folder", lambda *_, **__: pytest.fail("first the place, then the images"))
    assert "report x: Read-only" in prepare("check", "elsewhere/kaggle", "--report", "x/1.html", exit_code=2)


def test_a_wrong_data_set_ends_with_exit_code_1_and_is_not_packed(imagenet, prepare):
    make_kaggle(Path("kaggle"))
    image = next(Path("kaggle").glob(f"ILSVRC/Data/CLS-LOC/train/{WNIDS[0]}/*"))
    image.write_bytes(image.read_bytes()[:-100])
    output = prepare("check", "kaggle", "--report", "reports/1.html", exit_code=1)
    assert re.search(r"check    WRONG: train: 1 unreadable image, first .*JPEG", output)
    assert "1 problem: " in output
    assert Path("reports/1.html").is_file()
    output = prepare("folder", "kaggle", "--to", "out", "--pack", exit_code=2)
    assert "nothing was packed" in output
    assert not list(Path("out").glob("packed*"))


def test_too_little_room_is_said_before_anything_is_fetched(imagenet, prepare, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    large = replace(imagenet.files, train=replace(imagenet.files.train, size=10_000_000))
    monkeypatch.setattr(command, "IMAGENET_1K", large)
    output = prepare("imagenet1k", "--to", "data", exit_code=2)
    assert re.search(
        r"downloading and extracting ImageNet-1K needs 22\.\d MB in data, which has 10\.0 MB free", output
    )
    assert "extracting ImageNet-1K needs 11" in prepare(
        "imagenet1k", "--from", "archives", "--to", "data", exit_code=2
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imagenet1k", "--to", "x", "--magnet", "magnet:?xt=urn:btih:" + "a" * 40, "--devkit",
          "archives/ILSVRC2012_devkit_t12.tar.gz"], "does not say which archive it is for: add &dn=ILSVRC"),
        (["imagenet1k", "--to", "x", "--hub"], "cannot fetch ILSVRC/imagenet-1k"),
        (["folder", "nothing", "--to", "x"], "error: nothing: no such folder"),
        (["check", "archives"], "archives has 0 class folders|archives has no class folders"),
        (["push", "archives", "ann/x"], "archives is not a packed data set"),
        (["tiny-imagenet", "--to", "x", "--short_side", "big"], "argument --short_side: invalid"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(imagenet, prepare, arguments, message):
    output = prepare(*arguments, exit_code=2)
    assert re.search(message, output)
    assert "Traceback" not in output


def test_ctrl_c_ends_without_a_traceback(imagenet, prepare, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "check_folder", interrupted)
    assert prepare("check", "archives", exit_code=130).endswith("stopped at once\n")
