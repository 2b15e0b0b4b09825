"""
A small ImageNet, laid out as the real archives are: nested class tars, a development kit with its MAT file, Kaggle's
table, Tiny-ImageNet's zip. Every image shows its class: a grey level of its own, which decoding gives back.
"""

import io
import random
import tarfile
import zipfile
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from modeling_resnet50.prepare.known_files import ImageNetFiles, KnownFile


# Real ones, in an order that is not the sorted one, as in the development kit. Sorted, tench comes first.
WNIDS = ["n03126707", "n01440764", "n15075141", "n02012849", "n02105855", "n01443537"]
WORDS = {
    "n01440764": "tench, Tinca tinca",
    "n01443537": "goldfish, Carassius auratus",
    "n02012849": "crane",
    "n02105855": "Shetland sheepdog, Shetland sheep dog, Shetland",
    "n03126707": "crane",
    "n15075141": "toilet tissue, toilet paper, bathroom tissue",
}
TRAIN_PER_CLASS = 4
VALIDATION_PER_CLASS = 3


def grey_of(wnid: str) -> int:
    return 20 + 35 * sorted(WNIDS).index(wnid)


def jpeg(wnid: str, number: int, size: tuple[int, int] = (40, 32)) -> bytes:
    """A picture of the class: its grey level, and a spot of noise that makes each file different."""
    pixels = np.full((size[1], size[0], 3), grey_of(wnid), np.uint8)
    pixels[:8, :8] = np.random.default_rng(number).integers(0, 256, (8, 8, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@dataclass
class SyntheticImageNet:
    """
    Attributes:
        root: where the archives lie.
        files: how they are recognised.
        truth: name of each validation image → wnid.
    """

    root: Path
    files: ImageNetFiles
    truth: dict[str, str]


def make_imagenet(root: Path, truth_format: str = "text") -> SyntheticImageNet:
    """The three archives of ILSVRC 2012."""
    root.mkdir(parents=True, exist_ok=True)
    labels = [wnid for wnid in WNIDS for _ in range(VALIDATION_PER_CLASS)]
    random.Random(0).shuffle(labels)
    truth = {f"ILSVRC2012_val_{number:08d}.JPEG": wnid for number, wnid in enumerate(labels, 1)}

    inner = {}
    for wnid in WNIDS:
        names = [f"{wnid}_{100 + number}.JPEG" for number in range(TRAIN_PER_CLASS)]
        inner[f"{wnid}.tar"] = tar_bytes({name: jpeg(wnid, i) for i, name in enumerate(names)})
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_bytes(inner))
    # The images come in another order than their numbers: whoever goes by the order of files is wrong.
    images = [(name, jpeg(wnid, 1000 + i)) for i, (name, wnid) in enumerate(truth.items())]
    random.Random(1).shuffle(images)
    (root / "ILSVRC2012_img_val.tar").write_bytes(tar_bytes(dict(images)))
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(tar_bytes(devkit_files(labels, truth_format), "w:gz"))

    def known(name: str) -> KnownFile:
        content = (root / name).read_bytes()
        return KnownFile(name, len(content), md5(content).hexdigest())

    names = ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz")
    return SyntheticImageNet(root, ImageNetFiles(*(known(name) for name in names)), truth)


def devkit_files(labels: list[str], truth_format: str = "text") -> dict[str, bytes]:
    """The kit's `meta.mat` lists classes first, by ILSVRC2012_ID, and then the synsets above them."""
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height",
              "num_train_images"]  # fmt: skip
    rows = [(i, wnid, WORDS[wnid], "…", 0, [], 0, TRAIN_PER_CLASS) for i, wnid in enumerate(WNIDS, 1)]
    rows.append((len(rows) + 1, "n00001740", "entity", "what exists", len(WNIDS), list(range(1, 7)), 1, 0))
    synsets = np.zeros((len(rows), 1), dtype=[(field, object) for field in fields])
    for i, row in enumerate(rows):
        synsets[i, 0] = row
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    numbers = [WNIDS.index(wnid) + 1 for wnid in labels]
    root = "ILSVRC2012_devkit_t12"
    files = {f"{root}/readme.txt": b"Development kit\n", f"{root}/data/meta.mat": meta.getvalue()}
    if truth_format == "text":
        text = "".join(f"{number}\n" for number in numbers)
        files[f"{root}/data/ILSVRC2012_validation_ground_truth.txt"] = text.encode()
    else:
        truth = io.BytesIO()
        savemat(truth, {"gt_labels": np.array(numbers)[:, None]})
        files[f"{root}/data/ILSVRC2012_validation_ground_truth.mat"] = truth.getvalue()
    return files


def make_kaggle(root: Path) -> dict[str, str]:
    """Kaggle's layout; gives name of each validation image → wnid."""
    images = root / "ILSVRC" / "Data" / "CLS-LOC"
    for wnid in WNIDS:
        for number in range(TRAIN_PER_CLASS):
            _write(images / "train" / wnid / f"{wnid}_{100 + number}.JPEG", jpeg(wnid, number))
    labels = [wnid for wnid in WNIDS for _ in range(VALIDATION_PER_CLASS)]
    random.Random(2).shuffle(labels)
    truth = {f"ILSVRC2012_val_{number:08d}.JPEG": wnid for number, wnid in enumerate(labels, 1)}
    for i, (name, wnid) in enumerate(truth.items()):
        _write(images / "val" / name, jpeg(wnid, 1000 + i))
        _write(images / "test" / name.replace("val", "test"), jpeg(wnid, 2000 + i))
    rows = [f"{name.removesuffix('.JPEG')},{wnid} 85 1 499 272 {wnid} 1 2 3 4 \n" for name, wnid in truth.items()]
    random.Random(3).shuffle(rows)
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
    return truth


def make_tiny_imagenet(path: Path) -> dict[str, str]:
    """Tiny-ImageNet's zip, with boxes, test images and all; gives name of each validation image → wnid."""
    labels = [wnid for wnid in WNIDS for _ in range(VALIDATION_PER_CLASS)]
    random.Random(4).shuffle(labels)
    truth = {f"val_{number}.JPEG": wnid for number, wnid in enumerate(labels)}
    files = {"wnids.txt": "".join(f"{wnid}\n" for wnid in WNIDS).encode(), "words.txt": b"n00001740\tentity\n"}
    for wnid in WNIDS:
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"boxes"
        for number in range(TRAIN_PER_CLASS):
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = jpeg(wnid, number, (64, 64))
    for i, (name, wnid) in enumerate(truth.items()):
        files[f"val/images/{name}"] = jpeg(wnid, 1000 + i, (64, 64))
        files[f"test/images/test_{i}.JPEG"] = jpeg(wnid, 2000 + i, (64, 64))
    files["val/val_annotations.txt"] = "".join(f"{n}\t{w}\t0\t32\t44\t62\n" for n, w in truth.items()).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("tiny-imagenet-200")
        for name, content in files.items():
            archive.writestr(f"tiny-imagenet-200/{name}", content)
    return truth


def tar_bytes(files: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
