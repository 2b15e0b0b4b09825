"""With the number of classes and rows, the work grows no faster than n log n. Operations are counted, not seconds."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import ClassLabel

from modeling_resnet50.architecture import model_config
from modeling_resnet50.commands.evaluation_data import class_map_of
from modeling_resnet50.data import folders
from modeling_resnet50.data.class_names import names_in_words
from modeling_resnet50.data.sources import _check_splits
from modeling_resnet50.data.streaming import StreamSampler, _Stream
from resnet50_recipe.recipe import Recipe


class Name(str):
    """Counts how often a name is compared or hashed: what looking one up in a list, or in a set, takes."""

    __slots__ = ()
    operations = 0

    def __eq__(self, other):
        Name.operations += 1
        return str.__eq__(self, other)

    def __lt__(self, other):
        Name.operations += 1
        return str.__lt__(self, other)

    def __hash__(self):
        Name.operations += 1
        return str.__hash__(self)


def names(count: int) -> list[str]:
    return [Name(f"class {number:06d}") for number in range(count)]


def operations(work: Callable[[int], object], size: int) -> int:
    Name.operations = 0
    work(size)
    return Name.operations


class Split:
    def __init__(self, names: list[str]):
        self.features = {"label": SimpleNamespace(names=names)}

    def __len__(self):
        return 10**6


def named_by_the_space(count: int) -> None:
    pytest.importorskip("gradio")
    from modeling_resnet50.hub.spaces.gradio_space.app import Classifier

    network = torch.nn.Linear(1, 1)
    network.config = SimpleNamespace()
    Classifier("it", network, None, names(count), False)


WORK = {
    "the classes of two splits are compared": lambda count: _check_splits(Split(names(count)), Split(names(count))),
    "names become words": lambda count: names_in_words(names(count)),
    "names become classes": lambda count: ClassLabel(names=names(count)),
    "a model's classes are matched with the data's": lambda count: class_map_of(names(count), names(count)),
    "names go into a model's configuration": lambda count: model_config(Recipe(), names(count)),
    "a page tells classes apart": named_by_the_space,
}


@pytest.mark.parametrize("work", WORK)
def test_of_classes(work):
    few, many = (operations(WORK[work], count) for count in (200, 2000))
    assert many <= 12 * max(few, 200)


def test_of_kaggles_rows_and_classes(tmp_path, monkeypatch):
    def read(count: int) -> None:
        root = tmp_path / str(count)
        (root / "ILSVRC/Data/CLS-LOC/train").mkdir(parents=True)
        (root / "ILSVRC/Data/CLS-LOC/val").mkdir()
        rows = [f"ILSVRC2012_val_{row:08d},class{row:06d} 1 2 3 4\n" for row in range(count)]
        (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(rows))
        for row in range(count):
            (root / f"ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_{row:08d}.JPEG").touch()
        classes = [Name(f"class{row:06d}") for row in range(count)]
        train = SimpleNamespace(features={"label": SimpleNamespace(names=classes)})
        monkeypatch.setattr(folders, "_class_folders", lambda *_: train)
        monkeypatch.setattr(folders, "labelled_files", lambda paths, labels, names: labels)
        monkeypatch.setattr(folders, "DatasetDict", dict)
        assert folders.image_folders(root)["validation"] == list(range(count))

    few, many = (operations(read, count) for count in (100, 1000))
    assert many <= 12 * few


def test_of_row_groups_that_a_worker_is_told_of(monkeypatch):
    """Each batch looks at the row groups that are in use, not at all that ever were."""

    class Seen(np.ndarray):
        looked_at = 0

        def __getitem__(self, key):
            found = super().__getitem__(key)
            Seen.looked_at += getattr(found, "size", 1)
            return found

    def read(row_groups: int) -> int:
        sampler = StreamSampler(np.full(row_groups, 10), 5, seed=0, shuffle_buffer=20)
        sampler.start(1)
        begin = _Stream.__init__

        def watched(self, *arguments):
            begin(self, *arguments)
            self.row_groups, self.last_batches = self.row_groups.view(Seen), self.last_batches.view(Seen)

        monkeypatch.setattr(_Stream, "__init__", watched)
        Seen.looked_at = 0
        assert len(list(sampler)) == 2 * row_groups
        monkeypatch.setattr(_Stream, "__init__", begin)
        return Seen.looked_at

    assert read(2000) <= 12 * read(200)
