"""Parquet shards: the same images, whatever happened on the way."""

import hashlib
import io
import json
import random
import resource
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer
from PIL import Image
from processes import run_in_a_fork
from shared import run_python, tiny_arguments, write_image
from synthetic_imagenet import WNIDS, make_kaggle

from modeling_resnet50.data.decoding import decode_image, with_orientation
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.prepare.pack import pack, packed_files
from resnet50_recipe.errors import UserError


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def packed(source: Path, to: Path, **settings) -> Path:
    pack(load_splits(str(source)), to, **settings)
    return to


def rows_of(split) -> list[tuple[str, int]]:
    images = split.cast_column("image", datasets.Image(decode=False))["image"][:]
    return [(Path(image["path"]).name, label) for image, label in zip(images, split["label"][:])]


@pytest.fixture
def source(tmp_path) -> Path:
    """As the folder of three classes, with images larger than 24 pixels and smaller ones."""
    root = tmp_path / "images"
    for split, count in (("train", 9), ("val", 4)):
        for label, name in enumerate(("ant", "bee", "cat")):
            for number in range(count):
                size = (20, 18) if number == 2 else (50 + number, 36)
                write_image(root / split / name / f"{name}-{number}.jpg", 100 * label + number, size)
    return root


def test_a_photo_made_smaller_keeps_its_orientation_for_every_reader(tmp_path):
    for orientation in range(9):
        path = tmp_path / "images" / "train" / "a" / f"{orientation}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((60, 90, 3), np.uint8)
        pixels[:30, :45] = 255  # a white corner says how it lies
        Image.fromarray(pixels).save(path, quality=95, exif=with_orientation(orientation))
    Image.fromarray(pixels).save(path.with_name("6.tif"), exif=with_orientation(6))
    folder = packed(tmp_path / "images", tmp_path / "packed", short_side=30)
    small = load_splits(str(folder))["train"].cast_column("image", datasets.Image(decode=False))["image"][:]
    assert len(small) == 10
    for image in small:
        original = (tmp_path / "images" / "train" / "a" / image["path"]).read_bytes()
        for choice in ("apply", "ignore"):
            ours, theirs = (decode_image(data, exif_orientation=choice) for data in (image["bytes"], original))
            assert ours.shape[1:] == (theirs.shape[1] // 2, theirs.shape[2] // 2)
            assert ((ours > 127) == (theirs[:, ::2, ::2] > 127)).float().mean() > 0.98


def test_datasets_opens_every_image_with_its_label_memory_mapped(tmp_path):
    make_kaggle(tmp_path / "kaggle")
    folder = packed(tmp_path / "kaggle", tmp_path / "packed", short_side=16, rows_per_shard=10)
    assert sorted(path.name for path in folder.glob("data/*")) == [
        *(f"train-{number:05d}-of-00003.parquet" for number in range(3)),
        *(f"validation-{number:05d}-of-00002.parquet" for number in range(2)),
    ]
    splits = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert set(splits) == {"train", "validation"}
    before = load_splits(str(tmp_path / "kaggle"))
    for name, split in splits.items():
        assert split.cache_files
        assert split.features["label"].names == sorted(WNIDS)
        assert isinstance(split.features["image"], datasets.Image)
        assert Counter(rows_of(split)) == Counter(rows_of(before[name]))
        assert {min(image.size) for image in split["image"]} == {16}
    assert rows_of(split) == rows_of(before["validation"])  # only the training split is shuffled


def test_training_rows_are_shuffled_once_so_that_neighbours_differ(source, tmp_path):
    train = load_splits(str(packed(source, tmp_path / "packed")))["train"]
    before = rows_of(load_splits(str(source))["train"])
    assert rows_of(train) == [before[i] for i in np.random.default_rng(0).permutation(len(before))]


def test_large_images_are_resized_as_pil_does_it_and_small_ones_keep_their_bytes(source, tmp_path):
    for short_side in (24, None):
        folder = packed(source, tmp_path / f"packed-{short_side}", short_side=short_side, quality=85)
        for row in load_splits(str(folder))["validation"].cast_column("image", datasets.Image(decode=False)):
            path = source / "val" / row["image"]["path"].split("-")[0] / row["image"]["path"]
            image = Image.open(path).convert("RGB")
            if short_side is None or min(image.size) <= short_side:
                expected = path.read_bytes()
            else:
                buffer = io.BytesIO()
                size = (round(image.width * 24 / image.height), 24)
                image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
                expected = buffer.getvalue()
            assert row["image"]["bytes"] == expected


def test_row_groups_are_small_enough_to_stream(tmp_path):
    rows = {"image": [{"bytes": bytes([i]), "path": None} for i in range(250)], "label": [0] * 250}
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a"])})
    splits = datasets.DatasetDict(train=datasets.Dataset.from_dict(rows, features=features))
    pack(splits, tmp_path / "packed", short_side=None)
    (shard,) = (tmp_path / "packed" / "data").glob("*")
    footer = pq.read_metadata(shard)
    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [100, 100, 50]


def test_images_have_no_dictionary_that_would_be_read_for_the_first_of_them(source, tmp_path):
    """Parquet's default: every image once more, in one page before all others of its row group."""
    for shard in packed(source, tmp_path / "packed").glob("data/*"):
        group = pq.read_metadata(shard).row_group(0)
        columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        assert {name: column.has_dictionary_page for name, column in columns.items()} == {
            "image.bytes": False,
            "image.path": False,
            "label": True,
        }
        images = sum(len(row["bytes"]) for row in pq.read_table(shard)["image"].to_pylist())
        assert images < columns["image.bytes"].total_compressed_size < 1.05 * images


def test_for_the_first_image_of_a_row_group_a_small_part_of_it_is_read(tmp_path):
    class File(io.BytesIO):
        read_bytes = 0

        def read(self, size=-1, /):
            data = super().read(size)
            self.read_bytes += len(data)
            return data

    images = [{"bytes": random.Random(i).randbytes(50_000), "path": None} for i in range(100)]
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["a"])})
    rows = datasets.Dataset.from_dict({"image": images, "label": [0] * 100}, features=features)
    pack(datasets.DatasetDict(validation=rows), tmp_path / "packed", short_side=None)
    (shard,) = (tmp_path / "packed" / "data").glob("*")
    file = File(shard.read_bytes())
    parquet = pq.ParquetFile(file, buffer_size=2**16, pre_buffer=False)
    (first,) = next(parquet.iter_batches(batch_size=1)).to_pylist()
    assert first["image"] == images[0]
    assert file.read_bytes < 1_500_000  # of 5,000,000: a page of 1 MB


def test_any_number_of_processes_gives_the_same_bytes(source, tmp_path):
    folders = [
        packed(source, tmp_path / f"packed-{num_proc}", short_side=24, num_proc=num_proc, rows_per_shard=5)
        for num_proc in (1, 2)
    ]
    one, two = map(digests, folders)
    assert one == two
    assert len(one) == 6 + 3 + 2


@pytest.mark.parametrize("times", [10, pytest.param(30, marks=pytest.mark.long)])
def test_killed_anywhere_it_ends_byte_for_byte_as_if_undisturbed(times, source, tmp_path):
    settings = {"short_side": 24, "rows_per_shard": 7}
    expected = digests(packed(source, tmp_path / "undisturbed", **settings))
    generator = random.Random(0)
    to, killed, grew = tmp_path / "packed", 0, set()
    while killed < times:
        if to.exists():
            assert digests(to) == expected
            to.rename(tmp_path / f"finished-{killed}")
        code = run_in_a_fork(partial(packed, source, to, **settings), kill_at=generator.randrange(1, 60))
        assert code in (0, -signal.SIGKILL)
        killed += code == -signal.SIGKILL
        grew.add(len(list(tmp_path.glob(".packed.unfinished/data/train*"))))
    packed(source, to, **settings)
    assert digests(to) == expected
    assert len(grew) > 2  # it was killed in the beginning, in the middle and towards the end


def test_a_process_that_is_killed_is_named(source, tmp_path, broken_pipe):
    with pytest.raises(RuntimeError, match="a DataLoader worker was killed"):
        packed(source, tmp_path / "packed", num_proc=2)


def test_whole_shards_are_not_written_again(source, tmp_path):
    settings = {"short_side": 24, "rows_per_shard": 9}
    bad = source / "val" / "bee" / "bee-3.jpg"
    good = bad.read_bytes()
    bad.write_bytes(good[:400])
    with pytest.raises(UserError, match=r"unreadable image: .*val/bee/bee-3\.jpg"):
        packed(source, tmp_path / "packed", **settings)
    assert not (tmp_path / "packed").exists()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".packed.unfinished/data/train-*")}
    assert len(finished) == 3
    bad.write_bytes(good)
    done = []
    packed(source, tmp_path / "packed", on_progress=lambda count, total: done.append((count, total)), **settings)
    assert done == [(39, 39)]  # the last 6 of 12 to validate were missing, and nothing else
    for path, time in finished.items():
        assert (tmp_path / "packed" / "data" / path.name).stat().st_mtime_ns == time


def test_two_packings_are_never_mixed(source, tmp_path):
    to = packed(source, tmp_path / "packed", quality=90)
    before = digests(to)
    packed(source, to, quality=90)
    with pytest.raises(UserError, match=r"packed was packed differently \(quality was 90, now 80\): delete it"):
        packed(source, to, quality=80)
    assert digests(to) == before
    to.rename(tmp_path / ".other.unfinished")
    with pytest.raises(UserError, match=r"short_side was 256, now None.*give the same settings as before"):
        packed(source, tmp_path / "other", short_side=None)
    (source / "train" / "cat" / "cat-0.jpg").unlink()
    with pytest.raises(UserError, match=r"images was .*'train': 27.*'train': 26"):
        packed(source, tmp_path / "other")
    with pytest.raises(UserError, match="is not a packed data set: delete it, or choose another place"):
        packed(source, source)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"quality": 100}, "--quality must be between 1 and 95"), ({"short_side": 0}, "--short_side must be a number")],
)
def test_settings_that_make_no_sense_are_refused(source, tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        packed(source, tmp_path / "packed", **settings)


def test_a_full_disk_ends_with_a_clear_error_and_packing_goes_on_later(source, tmp_path):
    def with_little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))
        with pytest.raises(UserError, match=r"no space left on the disk.*it goes on from here"):
            packed(source, tmp_path / "packed", short_side=None, rows_per_shard=20)

    assert run_in_a_fork(with_little_room) == 0
    assert not (tmp_path / "packed").exists()
    packed(source, tmp_path / "packed", short_side=None, rows_per_shard=20)
    assert digests(packed(source, tmp_path / "again", short_side=None, rows_per_shard=20)) == digests(
        tmp_path / "packed"
    )


def test_names_of_any_kind_survive(tmp_path):
    names = ["a: b", "<script>", "---", "# x", "{{ y }}", "naïve 漢字 🐟", "'\"`", "null", "1e3", "a\nb"]
    for label, name in enumerate(names):
        for split in ("train", "val"):
            for number in range(2):
                write_image(tmp_path / "images" / split / name / f"{number} – {name[:3]}.jpg", 10 * label + number)
    splits = load_splits(str(packed(tmp_path / "images", tmp_path / "packed")))
    assert splits["train"].features["label"].names == sorted(names)
    assert Counter(splits["train"]["label"][:]) == Counter(list(range(len(names))) * 2)
    card = (tmp_path / "packed" / "README.md").read_text()
    assert not any(name in card for name in names if name not in ("---", "# x"))


def test_a_packed_data_set_trains_memory_mapped_and_streamed(source, tmp_path, train):
    folder = packed(source, tmp_path / "packed", short_side=24, rows_per_shard=10)
    for streaming in ("false", "true"):
        output_dir = tmp_path / f"run-{streaming}"
        train(tiny_arguments(folder, output_dir, num_train_epochs=1, warmup_epochs=0, streaming=streaming))
        (line,) = (output_dir / "metrics.jsonl").read_text().splitlines()
        assert json.loads(line)["bad_images"] == 0


PUSH_AND_OPEN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout, suppress
import datasets
from resnet50_cli import main

def push(folder, repo_id):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), suppress(SystemExit):
        main(["prepare", "push", folder, repo_id])
    return said.getvalue().strip()

results = [push(sys.argv[1], "ann/pictures")]
for folder in sys.argv[1:]:
    results.append(push(folder, "ann/pictures"))
    rows = datasets.load_dataset("ann/pictures", split="train")
    results.append([len(rows), rows.features["label"].names])
print(json.dumps([*results, push(folder, "eve/pictures")]))
"""


def test_what_was_pushed_is_what_datasets_opens_and_an_earlier_packing_is_gone(source, tmp_path):
    first = packed(source, tmp_path / "first", rows_per_shard=4)
    second = packed(source, tmp_path / "second", rows_per_shard=20)
    with HubServer() as hub:
        environment = hub.environment(tmp_path / "home", token="hf_ann", xet=True)
        hub.fail_next("POST", "/commit/main", "cut")  # done, but nobody hears of it
        result = run_python(["-c", PUSH_AND_OPEN, str(first), str(second)], **environment)
        assert result.returncode == 0, result.stderr
        failure, *opened, refusal = json.loads(result.stdout)
        repo = hub.repos["datasets/ann/pictures"]
        assert [path for _, path in hub.requests if "/reconstructions/" in path]  # read by Xet, as it was sent
    assert failure.startswith("error: cannot push to ann/pictures (the Hub cannot be reached (")
    assert failure.endswith("); the same command goes on from here")
    assert opened == [f"pushed: {hub.url}/datasets/ann/pictures/tree/main", [27, ["ant", "bee", "cat"]]] * 2
    assert refusal.startswith("error: cannot push to eve/pictures: this token may not write to eve/pictures (403)")
    # The first packing came whole, and the second took its place, in one commit each.
    assert [commit.title for commit in repo.commits] == ["initial commit", *["Upload packed images"] * 2]
    for commit, folder in zip(repo.commits[1:], (first, second)):
        assert {**commit.files, ".gitattributes": b""} == {
            **{name: path.read_bytes() for name, path in packed_files(folder).items()},
            ".gitattributes": b"",
        }
    for shard in (first / "data").glob("*"):
        shard.unlink()
    for folder in (source, first):  # nothing would be left on the Hub
        with pytest.raises(UserError, match="is not a packed data set"):
            packed_files(folder)
