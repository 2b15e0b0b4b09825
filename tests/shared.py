"""Shared by all tests: small models, a folder of images, and train.py as a function."""

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import datasets
import fork_server
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from datasets.fingerprint import generate_random_fingerprint
from datasets.table import embed_table_storage
from once import made_once
from PIL import Image
from transformers import dynamic_module_utils
from undrawn import as_text

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands import evaluate
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_splits
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.training import curves
from modeling_resnet50.training.environment import _git_commit
from resnet50_cli import main


PROJECT = Path(__file__).parents[1]
THREADS = torch.get_num_threads()
UNDRAWN = "tests/undrawn.py"  # train.py
TINY = {"depths": [1, 1], "hidden_sizes": [8, 16], "embedding_size": 8}


@pytest.fixture(autouse=True)
def _nothing_left_in_the_environment():
    """All that is forked afterwards would import everything anew."""
    before = fork_server.read_by_imports(dict(os.environ))
    yield
    assert fork_server.read_by_imports(dict(os.environ)) <= before, "put it back, or into READ_LATE if it is read late"


@pytest.fixture(autouse=True)
def _fresh_state(_nothing_left_in_the_environment, monkeypatch):
    """accelerate keeps its state for the whole process, and training sets the threads; each test starts without."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    torch.manual_seed(0)
    yield
    # On which the last bits of logits depend; now, as the next test's module has fixtures that come before this one.
    torch.set_num_threads(THREADS)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture(autouse=True, scope="session")
def _nothing_for_nothing():
    """
    A process that is killed loses nothing it has written, so none waits for the disk. And what libraries work out for
    seconds, again and again, is worked out once, or not at all where no ResNet has it.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", os.fstat)  # an error all the same, of what is not open
        patched.setattr(os, "sync", lambda: None)
        # Two processes in each of many runs
        patched.setattr("modeling_resnet50.training.environment._git_commit", functools.cache(_git_commit))
        # The name of what `map` would store: a hash of all that is in memory.
        patched.setattr(datasets.arrow_dataset, "generate_fingerprint", lambda _: generate_random_fingerprint())
        if importlib.util.find_spec("onnxscript"):  # for each graph, half of a small one's export
            table = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
            patched.setattr(table, "from_torchlib", staticmethod(functools.cache(table.from_torchlib)))
            operators = importlib.import_module("torch._export.utils")
            patched.setattr(operators, "_materialize_cpp_cia_ops", functools.cache(operators._materialize_cpp_cia_ops))
        if importlib.util.find_spec("executorch"):  # patterns of attention and of upsampling
            patterns = "executorch.backends.xnnpack.partition.graphs"
            patched.setattr(importlib.import_module(f"{patterns}.sdpa"), "get_graphs", list)
            patched.setattr(importlib.import_module(f"{patterns}.bilinear_2d"), "get_graphs_dict", dict)
        yield


@pytest.fixture
def remote_code(tmp_path, monkeypatch):
    """Code that comes with models is copied to, and imported from, a folder of the test's own."""
    folder = str(tmp_path / "modules")
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", folder)
    monkeypatch.syspath_prepend(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        del sys.modules[name]


@pytest.fixture
def tiny_config() -> ResNet50Config:
    return ResNet50Config(**TINY, num_labels=3)


@torch.no_grad()
def as_if_trained(model: torch.nn.Module) -> torch.nn.Module:
    """BatchNorms with weights and statistics of their own, in evaluation mode: fresh ones would hide mistakes."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def save_teacher(folder: Path, seed: int = 0) -> Path:
    """A classifier of three classes, with a normalisation of its own: (pixels - 0.5) / 0.25."""
    torch.manual_seed(seed)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)))
    folder.mkdir()
    save_model_and_processor(
        folder, model, image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.25] * 3))
    )
    return folder


@torch.no_grad()
def with_spread_logits(model: torch.nn.Module, pixel_values: torch.Tensor) -> torch.nn.Module:
    """Its answers about these images are as far apart as those of a trained network, and not all one class."""
    logits = model(pixel_values).logits
    model.fc.weight *= 2 / (logits - logits.mean(0)).std()
    model.fc.bias -= model(pixel_values).logits.mean(0)
    return model


def write_image(path: Path, seed: int, size: tuple[int, int] = (40, 32), image_format: str | None = None) -> None:
    """A smooth picture of its own for each seed; JPEG unless the name says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, image_format, quality=95)


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """`train/<class>` with 8 images each and `val/<class>` with 5: 24 and 15, three classes."""
    return write_image_folder(tmp_path / "images")


def write_image_folder(root: Path) -> Path:
    for split, count in (("train", 8), ("val", 5)):
        for label, name in enumerate(("ant", "bee", "cat")):
            for number in range(count):
                write_image(root / split / name / f"{number}.jpg", seed=1000 * label + 100 * len(split) + number)
    return root


def write_shards(image_folder: Path, folder: Path) -> Path:
    """The image folder as parquet files with the images in them, three row groups a split."""
    (folder / "data").mkdir(parents=True)
    for name, split in load_splits(str(image_folder)).items():
        rows = split.cast_column("image", datasets.Image())
        table = embed_table_storage(rows.with_format("arrow")[:])
        path = folder / "data" / f"{name}-00000-of-00001.parquet"
        pq.write_table(table, path, row_group_size=-(-len(rows) // 3))
    return folder


def tiny_arguments(dataset_name: str | Path, output_dir: Path, **overrides) -> list[str]:
    """train.py's command line for a run of seconds."""
    settings = {
        "dataset_name": dataset_name, "output_dir": output_dir, "image_size": 16, "config_overrides": json.dumps(TINY),
        "total_train_batch_size": 8, "num_train_epochs": 2, "warmup_epochs": 1, "dataloader_num_workers": 0,
        **overrides,
    }  # fmt: skip
    arguments = ["--config", str(PROJECT / "recipes" / "imagenet1k.yaml"), "--mixed_precision", "no"]
    for name, value in settings.items():
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name}", *map(str, values)]
    return arguments


@pytest.fixture
def train(monkeypatch):
    """
    Run train.py's `main` in this process with a command line. Its attribute `script` is the module.

    The curves are written as what would be drawn: drawing takes a third of a run of seconds. With `draws` it is done;
    processes draw theirs, unless they run `UNDRAWN`.
    """
    spec = importlib.util.spec_from_file_location("train_script", PROJECT / "train.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(arguments: list[str], draws: bool = False) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["train.py", *arguments])
            if not draws:
                patched.setattr(curves, "_training_curves", as_text)
            script.main()

    run.script = script
    return run


@pytest.fixture(scope="session")
def of_all_workers(tmp_path_factory) -> Path:
    """A folder that the workers of pytest share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture
def trained(of_all_workers, train):
    """
    Call it with settings for `tiny_arguments`: the folder of a run on the images of `image_folder`, to be read or
    copied. The first who asks for it trains it.
    """

    def run(**settings) -> Path:
        key = json.dumps(settings, sort_keys=True)
        folder = of_all_workers / f"trained-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        with made_once(folder) as is_mine:
            if is_mine:
                shutil.rmtree(folder, ignore_errors=True)
                train(tiny_arguments(write_image_folder(folder / "images"), folder / "run", **settings))
        return folder / "run"

    return run


@pytest.fixture(scope="session")
def exported(of_all_workers):
    """
    Call it with a format and options of `resnet50 export`: what it wrote of a small model of basic blocks for the ten
    digits at 64 pixels, to be read. The first who asks for it exports it. Its attribute `model` is the model.
    """
    folder = of_all_workers / "exported"
    torch.manual_seed(0)
    names = [str(digit) for digit in range(10)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, layer_type="basic", **labels)))
    processor = image_processor(Preprocessing.by_ratio(64, 1.0, "bilinear", [0.5] * 3, [0.25] * 3))
    folder.mkdir(exist_ok=True)
    with made_once(folder / "model") as is_mine:
        if is_mine:
            save_model_and_processor(folder / "model", model, processor)

    def export(kind: str, *options: str) -> Path:
        out = folder / ("_".join([kind, *options]).replace("-", "") + (".pt2" if kind == "pt2" else ""))
        with made_once(out) as is_mine:
            if is_mine:
                main(["export", str(folder / "model"), str(out), "--format", kind, *options])
        return out

    export.model = model
    return export


def run_python(arguments: list[str], fresh: bool = False, **environment: str) -> subprocess.CompletedProcess:
    """A Python process in the project's folder: forked from one that has imported much, or a fresh one."""
    environment = {**os.environ, **environment}
    if fresh:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300)
    return ended([fork_server.start_python(arguments, environment, PROJECT)])


def run_ranks(arguments: list[str], number: int = 2, **environment: str) -> subprocess.CompletedProcess:
    """The processes of one run on the CPU, as a launcher starts them. What they say comes together."""
    environment |= {
        "ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number),
    }  # fmt: skip
    environment = {**os.environ, **environment}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(number)]
    return ended([fork_server.start_python(arguments, environment | rank, PROJECT) for rank in ranks])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ended(processes: list) -> subprocess.CompletedProcess:
    """All of them; the code is that of the first that failed."""
    try:
        said = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    code = next((process.returncode for process in processes if process.returncode), 0)
    return subprocess.CompletedProcess(processes[0].args, code, *map("".join, zip(*said)))


def pytest_collection_finish() -> None:
    """absl, which OpenVINO imports, closes the stderr of its import when a server sets logging up: here, pytest's."""
    if "absl.logging" in sys.modules:
        sys.modules["absl.logging"].get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture
def without_pages(monkeypatch) -> None:
    """`resnet50 evaluate --output` writes its numbers alone: most of an evaluation of seconds is drawing pages."""
    monkeypatch.setattr(evaluate, "_write_pages", lambda *results: None)


@pytest.fixture
def broken_pipe(monkeypatch) -> None:
    """What a DataLoader meets when one of its workers is killed while it hands over a batch."""

    def hand_over(self):
        raise EOFError
        yield

    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", hand_over)
