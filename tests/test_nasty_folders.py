"""A hundred data sets as nobody would make them on purpose: each is trained on whole, or refused in one line."""

import io
import os
import random
import re
import unicodedata
from collections import Counter
from contextlib import nullcontext, suppress
from functools import lru_cache
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from modeling_resnet50.data.folders import require_apart
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.prepare.check import check_folder
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


SIDE = 12  # pixels
# Folders' names, in bytes, and what the class is then called.
NAMES = {
    b"ant": "ant",
    b"bee hive": "bee hive",
    b"x.jpg": "x.jpg",
    b"1e3": "1e3",
    "漢字".encode(): "漢字",
    "café".encode(): "café",
    b"\xe7at": "\\xe7at",
    b"\xff\xfe": "\\xff\\xfe",
    b"train": "train",
    b"test": "test",
    b"Val": "Val",
}
LIKE_SPLITS = {"train", "test", "Val"}
ENDINGS = ["jpg", "JPEG", "png", "gif", "jp2", "avif", "jfif", "jpe", "dib", "webp", "tiff", "pgm", "12", "16", ""]
JUNK = {
    "notes.txt": b"P5 is no picture",
    ".DS_Store": b"\0\0\0\1Bud1",
    "Thumbs.db": bytes(600),
    "raw.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "empty": b"",
}


@lru_cache
def encoded(level: int, ending: str) -> bytes:
    """A picture of this grey level and nothing else."""
    if ending in ("12", "16"):  # bits; PGM
        white = 2 ** int(ending) - 1
        pixels = np.full((SIDE, SIDE), round(level * white / 255), ">u2")
        return f"P5 {SIDE} {SIDE} {white}\n".encode() + pixels.tobytes()
    image = Image.new("L" if ending == "pgm" else "RGB", (SIDE, SIDE), level if ending == "pgm" else (level,) * 3)
    formats = {"": "PNG", "jpg": "JPEG", "jfif": "JPEG", "jpe": "JPEG", "dib": "BMP", "jp2": "JPEG2000", "pgm": "PPM"}
    buffer = io.BytesIO()
    image.save(buffer, formats.get(ending, ending.upper()))
    return buffer.getvalue()


class Nasty:
    """
    A data set that a seed decides.

    Attributes:
        fields: of a recipe that trains on it.
        levels: the grey level of all images of each class.
        images: how many of each class, for each split.
        refusals: patterns, one of which an error has to match. None: it has to be taken.
    """

    def __init__(self, seed: int, root: Path):
        self.rng = random.Random(seed)
        self.root = root / "data"
        self.root.mkdir()
        self.fields: dict = {"dataset_name": str(self.root)}
        self.levels: dict[str, int] = {}
        self.images: dict[str, Counter] = {}
        self.refusals: list[str] = []
        self._parquet() if self.rng.random() < 0.25 else self._folders()

    def _sizes(self, names: list[str]) -> Counter:
        return Counter({name: self.rng.choice([2, 3, 6]) for name in names}) | {
            names[0]: self.rng.choice([1, 3, 5, 14])
        }

    def _level(self, name: str) -> int:
        return self.levels.setdefault(name, 30 + 25 * len(self.levels))

    def _hold_out(self, sizes: Counter) -> None:
        self.fields |= {"train_val_split": self.rng.choice([0.1, 0.2, 0.5, 0.9]), "seed": self.rng.randrange(9)}
        if min(sizes.values()) < 2:
            self.refusals.append("at least 2 images in every class.* with 1")

    # Folders

    def _folders(self) -> None:
        names = self.rng.sample(list(NAMES), self.rng.randrange(2, 6))
        has_validation = self.rng.random() < 0.5
        inside = has_validation or self.rng.random() < 0.5
        places = {"train": self.root / "train" if inside else self.root}
        if has_validation:
            places["validation"] = self.root / self.rng.choice(["val", "valid", "validation", "test", "VAL", "dev"])
        for split, place in places.items():
            self.images[split] = self._sizes([NAMES[name] for name in names])
            for name in names:
                self._class(place, name, self.images[split][NAMES[name]], may_be_nested=inside)
        if not has_validation:
            self._hold_out(self.images["train"])
        if not inside:
            self._look_like_splits([NAMES[name] for name in names])
        self._flaw(list(places.values()), [NAMES[name] for name in names])

    def _class(self, place: Path, name: bytes, count: int, may_be_nested: bool) -> None:
        if self.rng.random() < 0.5:  # as a Mac would write it
            with suppress(UnicodeDecodeError):
                name = unicodedata.normalize("NFD", name.decode()).encode()
        folder = os.fsencode(place) + b"/" + name
        level = self._level(NAMES.get(name) or unicodedata.normalize("NFC", name.decode()))
        for number in range(count):
            ending = self.rng.choice(ENDINGS)
            below = self.rng.choice([b"", b"", b"2020/m\xe4rz/"]) if may_be_nested else b""
            stem = self.rng.choice([b"IMG %d", b"\xe9t\xe9-%d", "日-%d".encode(), b"-%d"]) % number
            path = folder + b"/" + below + stem + (b"." + ending.encode() if ending else b"")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(encoded(level, ending))
        for junk in self.rng.sample(list(JUNK), self.rng.randrange(3)):
            with open(folder + b"/" + junk.encode(), "wb") as file:
                file.write(JUNK[junk])
        if self.rng.random() < 0.2:
            os.symlink("nowhere", folder + b"/gone.jpg")

    def _look_like_splits(self, names: list[str]) -> None:
        """`train` among as many others is a class; otherwise it is asked what it is."""
        named = LIKE_SPLITS & set(names)
        if len(named) > len(names) - len(named):
            self.refusals.append("as splits are called" if len(named) < len(names) else "has no class folders")

    def _flaw(self, places: list[Path], names: list[str]) -> None:
        flaw, place = self.rng.randrange(10), self.rng.choice(places)
        if flaw == 0:
            (place / "another").mkdir()
            self.refusals.append("no images in 1 of .* class folders, first 'another'")
        elif flaw == 1 and len(places) == 2:
            for number in range(2):
                path = place / "another" / f"{number}.png"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(encoded(7, "png"))
            self.refusals.append("different classes: 1 missing from (train|validation), first 'another'")
        elif flaw in (2, 3):
            (place / "another").mkdir()
            content = encoded(9, "png")[:45] if flaw == 2 else self._of_32_bits()
            for each in places:
                for number in range(3):
                    (each / "another").mkdir(exist_ok=True)
                    (each / "another" / f"{number}.tif").write_bytes(content)
            self.refusals.append("unreadable image: .*another")

    @staticmethod
    def _of_32_bits() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(np.full((SIDE, SIDE), 7, np.int32)).save(buffer, "TIFF")
        return buffer.getvalue()

    # Parquet

    def _parquet(self) -> None:
        kinds = [[4_000_000_123, 7, 12], [1, 2, 3], [10, 500], [-1, 1], [0, 2**40], ["b", "café", "a"]]
        values = self.rng.choice(kinds)
        sizes = self._sizes([str(value) for value in values])
        rows = [value for value in values for _ in range(sizes[str(value)])]
        self.rng.shuffle(rows)
        splits = {"train": rows}
        if self.rng.random() < 0.3:
            self._hold_out(sizes)
        else:
            self.fields["streaming"] = self.rng.random() < 0.5
            splits["validation"] = self.rng.choice([values, values[:1], rows])
            if self.rng.random() < 0.2:
                extra = "zebra" if isinstance(values[0], str) else 99
                splits["validation"] = [*splits["validation"], extra]
                self.refusals.append(f"different classes: .* first '{extra}'|different classes: .* from validation")
        for split, labels in splits.items():
            self.images[split] = Counter(str(label) for label in labels)
        if self.rng.random() < 0.2:
            split = self.rng.choice(list(splits))
            splits[split] = [*splits[split][:1], None, *splits[split][1:]]
            self.refusals = [f"{split}.*: 1 image has no label, first row 1"]
        for split, labels in splits.items():
            self._shard(split, labels)

    def _shard(self, split: str, labels: list) -> None:
        images = [
            {"bytes": encoded(self._level(str(label)), self.rng.choice(ENDINGS)), "path": "it"} for label in labels
        ]
        forms = [self.rng.choice(["NFC", "NFD"]) for _ in labels]
        column = [unicodedata.normalize(form, v) if isinstance(v, str) else v for form, v in zip(forms, labels)]
        table = pa.table({"image": pa.array(images), "label": pa.array(column)})
        features = datasets.Features({**datasets.Features.from_arrow_schema(table.schema), "image": datasets.Image()})
        table = table.replace_schema_metadata(features.arrow_schema.metadata)
        pq.write_table(table, self.root / f"{split}.parquet", row_group_size=self.rng.randrange(1, 6))


def seen(recipe: TrainingArguments, levels: dict[str, int]) -> list[Counter]:
    """Images of each class that training gets in an epoch, and in validation; each of the colour of its class."""
    data = load_training_data(recipe, torch.device("cpu"), 0, 0, 1)
    data.train_loader.sampler.start(1)
    counts = []
    for loader in (data.train_loader, data.validation_loader):
        counts.append(Counter())
        for batch in loader:
            grey = 255 * (batch["pixel_values"] * loader.std + loader.mean).mean((1, 2, 3))
            for level, label in zip(grey.tolist(), batch["labels"].tolist()):
                name = data.label_names[label]
                assert abs(level - levels[name]) < 3, name
                counts[-1][name] += 1
    assert [sum(count.values()) for count in counts] == [data.num_train_images, data.num_validation_images]
    return counts


def seen_or_refused(recipe: TrainingArguments, levels: dict[str, int]) -> list[Counter] | str:
    try:
        return seen(recipe, levels)
    except UserError as error:
        return str(error)


SEEDS = range(50, 100)  # each way to go wrong is among theirs


@pytest.mark.parametrize("seed", [*SEEDS, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(50))])
def test_each_is_trained_on_with_the_right_counts_or_refused_in_one_line(seed, tmp_path):
    nasty = Nasty(seed, tmp_path)
    recipe = TrainingArguments(total_train_batch_size=1, image_size=8, shuffle_buffer=4, **nasty.fields)
    outcome = seen_or_refused(recipe, nasty.levels)
    if isinstance(outcome, str):
        assert "\n" not in outcome
        outcome.encode()  # to be printed anywhere
        assert any(re.search(pattern, outcome) for pattern in nasty.refusals), outcome
        return
    assert not nasty.refusals
    train, validation = outcome
    if recipe.train_val_split is None:
        assert [train, validation] == [nasty.images["train"], nasty.images["validation"]]
    else:
        assert train + validation == nasty.images["train"]
        for name, count in nasty.images["train"].items():
            assert min(train[name], validation[name]) >= 1
            wanted = min(max(recipe.train_val_split * count, 1), count - 1)
            assert abs(validation[name] - wanted) < 1
    result = check_folder(nasty.root)
    if all(counts.keys() == nasty.levels.keys() for counts in nasty.images.values()):
        assert result.problems == []
    assert sum(len(table.labels) for table in result.tables) == sum(sum(c.values()) for c in nasty.images.values())


def test_some_are_refused_for_every_reason_and_more_are_taken(tmp_path):
    """Else these would show little."""
    refusals = []
    for seed in SEEDS:
        (tmp_path / str(seed)).mkdir()
        refusals.append(Nasty(seed, tmp_path / str(seed)).refusals)
    assert 10 <= sum(map(bool, refusals)) <= 30
    assert len({pattern for patterns in refusals for pattern in patterns}) >= 8


@pytest.mark.parametrize(
    ("data", "run", "among"),
    [
        ("images", "images/train/ant/run", True),
        ("images", "images/Val/run", True),
        ("images", "images/runs/a", False),
        ("images", "images", False),
        ("images/train", "images/train", True),
        ("images/train", "images/train/runs/a", True),
        ("images/train", "images/runs", False),
        ("nowhere", "nowhere/run", False),
    ],
)
def test_a_run_among_the_images_it_would_train_on_is_refused(image_folder, monkeypatch, data, run, among):
    monkeypatch.chdir(image_folder.parent)
    (image_folder / "val").rename(image_folder / "Val")
    (image_folder.parent / "link").symlink_to("images")
    for place in (run, run.replace("images", "link", 1)):
        with pytest.raises(UserError, match="lies among the images of") if among else nullcontext():
            require_apart(place, data)
