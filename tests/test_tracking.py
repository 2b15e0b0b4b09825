"""What trackers are told is true, arrives, and costs the training nothing."""

import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace


os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp())  # trackio asks for it when it is imported

import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import LoggerType
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file
from shared import PROJECT, tiny_arguments, write_image
from torch import nn
from torchvision.transforms.v2 import functional as F

from modeling_resnet50.training import metrics as metrics_module
from modeling_resnet50.training import tracking
from modeling_resnet50.training.batch_picture import picture_of
from modeling_resnet50.training.checkpoint import Progress
from modeling_resnet50.training.metrics import TrainMetrics
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.trackers import KINDS, Start, kind_of
from modeling_resnet50.training.tracking import Tracker, check_trackers
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.training_arguments import TrainingArguments


event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
trackio = pytest.importorskip("trackio")
from trackio.remote_client import RemoteClient  # noqa: E402


STEPS = [2, 4, 6, 8, 10, 12]  # of 12, with logging_steps 2
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def read_tensorboard(run: Path):
    return event_accumulator.EventAccumulator(str(run / "logs" / "resnet50")).Reload()


def scalars(events, name: str) -> dict[int, float]:
    values = [(event.step, event.value) for event in events.Scalars(name)]
    assert len(dict(values)) == len(values), f"{name} has a step twice"
    return dict(values)


@pytest.fixture
def server():
    """trackio's own, on 127.0.0.1."""
    app, url, _, url_with_token = trackio.show(open_browser=False, block_thread=False)
    assert url.startswith("http://127.0.0.1:")
    yield SimpleNamespace(url=url, url_with_token=url_with_token)
    app.close()


def ask(server, question: str, **arguments):
    return RemoteClient(server.url, verbose=False).predict(api_name=f"/{question}", project="resnet50", **arguments)


def test_a_resumed_run_goes_on_in_the_same_run_of_tensorboard_and_of_a_trackio_server(
    image_folder, tmp_path, train, server, monkeypatch
):
    monkeypatch.setattr(tracking, "DRAWING_SHARE", float("inf"))
    monkeypatch.setenv("TRACKIO_SERVER_URL", server.url_with_token)
    settings = {
        "report_to": ["tensorboard", "trackio"], "logging_steps": 2, "total_train_batch_size": 4, "max_grad_norm": 1.0,
    }  # fmt: skip
    whole, run, silent = tmp_path / "whole", tmp_path / "run", tmp_path / "silent"
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (drawn.append(self), save(self, *args, **kw)))
    train(tiny_arguments(image_folder, whole, **settings, checkpoint_every_steps=5), draws=True)
    assert len(drawn) == 2, "one drawing an epoch, shared by the run folder and all cards"
    assert (whole / "training_curves.png").read_bytes() == (whole / "final" / "training_curves.png").read_bytes()

    # Watched or not, the weights are the same.
    train(tiny_arguments(image_folder, silent, **{**settings, "report_to": "none"}))
    weights = [load_file(each / "final" / "model.safetensors") for each in (whole, silent)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    # As if killed after step 12, with the last checkpoint after step 5.
    shutil.copytree(whole, run)
    for checkpoint in (run / "checkpoints").iterdir():
        if checkpoint.name != "epoch-0000-batch-000005":
            shutil.rmtree(checkpoint)
    train(tiny_arguments(image_folder, run, **settings, resume_from_checkpoint="latest"))

    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    before, after = read_tensorboard(whole), read_tensorboard(run)
    for name in ("loss", "top1", "learning_rate", "grad_norm", "skipped_steps", "images_per_second", "data_wait"):
        assert list(scalars(after, f"train/{name}")) == STEPS
    for name in ("top1", "learning_rate", "grad_norm"):
        # loss and top1 at step 6 are of that step alone, because the run was resumed after step 5
        assert {**scalars(before, f"train/{name}"), 6: 0} == {**scalars(after, f"train/{name}"), 6: 0}
    assert scalars(after, "train/grad_norm")[6] == scalars(before, "train/grad_norm")[6]
    for name in ("val_loss", "val_top1", "train_loss", "data_wait", "epoch"):
        assert scalars(after, name) == pytest.approx({row["step"]: row[name] for row in rows})
    assert [image.step for image in before.Images("train/first_batch")] == [0]
    (told,) = before.Images("train/first_batch")
    with Image.open(whole / "first_batch.png") as picture:
        assert (told.width, told.height) == picture.size

    names = json.loads((run / "logs" / "trackers.json").read_text())
    assert names == json.loads((whole / "logs" / "trackers.json").read_text())
    (told,) = ask(server, "get_runs_for_project")
    assert told["name"] == names["trackio"]
    values = ask(server, "get_metric_values", run=told["name"], metric_name="train/learning_rate")
    assert sorted({value["step"] for value in values}) == STEPS
    assert {value["step"]: value["value"] for value in values} == pytest.approx(
        scalars(after, "train/learning_rate"), rel=1e-6
    )
    assert "train/first_batch" in ask(server, "get_metrics_for_run", run=told["name"])
    values = ask(server, "get_metric_values", run=told["name"], metric_name="val_top1")
    assert {value["step"]: value["value"] for value in values} == {row["step"]: row["val_top1"] for row in rows}


# One tracker, watched closely


class Listener(GeneralTracker):
    """Keeps what it is told."""

    name, requires_logging_directory = "listener", False

    def __init__(self, breaks: bool = False):
        super().__init__()
        self.told: list[tuple[int, dict]] = []
        self.breaks = breaks

    @property
    def tracker(self):
        return self

    def log(self, values, step=None, **kwargs):
        if self.breaks:
            raise ConnectionError("the server\nis gone")
        self.told.append((step, values))


@pytest.fixture
def watched(tmp_path):
    """A tracker that tells listeners every third step, and what it stands on."""
    recipe = TrainingArguments(output_dir=str(tmp_path / "run"), report_to=["tensorboard"], logging_steps=3)
    accelerator = Accelerator()
    accelerator.trackers = [Listener()]
    reports = []
    progress = Progress()
    tracker = Tracker(accelerator, recipe, RunFolder(recipe), progress, reports.append)
    return SimpleNamespace(
        tracker=tracker, accelerator=accelerator, progress=progress, reports=reports, run=RunFolder(recipe),
        model=nn.Linear(4, 3), metrics=TrainMetrics(accelerator),
    )  # fmt: skip


def take_step(watched) -> torch.Tensor:
    logits = watched.model(torch.randn(2, 4))
    labels = torch.tensor([0, 2])
    loss = nn.functional.cross_entropy(logits, labels)
    watched.model.zero_grad()
    loss.backward()
    watched.tracker.before_step(watched.model)
    watched.metrics.update(loss, logits, labels)
    watched.progress.step += 1
    watched.tracker.step(watched.metrics, learning_rate=0.1)
    return loss.detach()


def test_values_are_read_from_the_device_at_every_logging_step_only(watched, monkeypatch):
    readings = []

    def counted(read):
        def reads(self, *arguments, **options):
            readings.append(watched.progress.step)
            return read(self, *arguments, **options)

        return reads

    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, counted(getattr(torch.Tensor, name)))
    for _ in range(9):
        take_step(watched)
    assert set(readings) == {3, 6, 9}
    assert len(readings) <= 3 * 2


def test_loss_is_the_mean_since_the_last_time_and_the_gradients_norm_that_of_all_of_them(watched):
    losses = [take_step(watched).item() for _ in range(6)]
    (first, second) = watched.accelerator.trackers[0].told
    assert (first[0], second[0]) == (3, 6)
    assert first[1]["train/loss"] == pytest.approx(sum(losses[:3]) / 3)
    assert second[1]["train/loss"] == pytest.approx(sum(losses[3:]) / 3)
    gradients = torch.cat([parameter.grad.flatten() for parameter in watched.model.parameters()])
    assert second[1]["train/grad_norm"] == pytest.approx(gradients.norm().item())


def test_scaled_gradients_are_told_unscaled_beside_the_loss_scale(watched):
    watched.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=True)
    watched.accelerator.scaler.scale(torch.ones(()))  # it starts at the first use
    for _ in range(3):
        take_step(watched)
    (_, told) = watched.accelerator.trackers[0].told[-1]
    gradients = torch.cat([parameter.grad.flatten() for parameter in watched.model.parameters()])
    assert told["train/loss_scale"] == 4.0
    assert told["train/grad_norm"] == pytest.approx(gradients.norm().item() / 4)


def test_waiting_for_data_and_images_per_second_are_counted_by_the_clock(watched, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    fake = SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr(metrics_module, "time", fake)
    monkeypatch.setattr(tracking, "time", fake)
    metrics = TrainMetrics(watched.accelerator)

    def loader():
        for _ in range(3):
            clock.now += 3.0
            yield {"pixel_values": torch.zeros(2, 3, 8, 8), "targets": torch.tensor([0, 1])}

    watched.tracker._label_names = ["ant", "bee"]
    for _ in watched.tracker.batches(loader(), metrics):
        clock.now += 1.0
        metrics.update(torch.tensor(1.0), torch.eye(2), torch.tensor([0, 1]))
    told = metrics.since_last()
    assert told["data_wait"] == metrics.data_wait() == metrics.compute()["data_wait"] == 0.75
    assert told["images_per_second"] == 6 / 12


def test_a_tracker_that_fails_is_reported_once_and_the_others_are_told(watched):
    broken, sound = Listener(breaks=True), Listener()
    watched.accelerator.trackers = [broken, sound]
    watched.run.path.mkdir(parents=True)
    row = {
        "epoch": 1, "step": 3, "train_loss": 1.0, "val_loss": 1.0, "train_top1": 0.5, "val_top1": 0.5,
        "learning_rate": 0.1, "images_per_second": 9.0,
    }  # fmt: skip
    watched.run.log(row)
    watched.progress.step = 3
    for _ in range(2):
        watched.tracker.epoch(row)
    assert sound.told == [(3, {name: value for name, value in row.items() if name != "step"})] * 2
    assert watched.reports == [
        "listener failed and is told no more (ConnectionError: the server is gone); training goes on"
    ]


def test_curves_take_their_share_of_the_time_at_most_and_the_last_epoch_is_drawn(watched, monkeypatch):
    clock, drawn = SimpleNamespace(now=100.0), []

    def draw(history, best_epoch, path):
        clock.now += 1.0  # second
        drawn.append(len(history))
        path.write_bytes(b"")

    monkeypatch.setattr(tracking, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(tracking, "draw_training_curves", draw)
    watched.run.path.mkdir(parents=True)
    for epoch in range(1, 91):
        row = {"epoch": epoch, "step": epoch, "val_loss": 1.0, "val_top1": 0.5}
        watched.run.log(row)
        watched.tracker.epoch(row)
        clock.now += 5.0
    for _ in range(2):
        watched.tracker.draw_curves()
    assert drawn == [*range(1, 90, 4), 90]


# The picture of a batch


@pytest.mark.parametrize("size", [16, 128])
def test_first_batch_shows_the_very_pixels_that_were_normalised(size, tmp_path):
    originals = []
    for seed in range(3):
        write_image(tmp_path / "image.png", seed, (size, size))
        with Image.open(tmp_path / "image.png") as image:
            originals.append(F.pil_to_tensor(image.convert("RGB")))
    batch = torch.stack([F.normalize(F.to_dtype(image, torch.float32, scale=True), MEAN, STD) for image in originals])
    contents = {"pixel_values": batch, "targets": torch.tensor([2, 0, 1])}
    picture = picture_of(contents, TrainingArguments(image_mean=MEAN, image_std=STD), ["ant", "bee", "cat"])
    shown, scale = F.pil_to_tensor(picture), 7 if size == 16 else 1
    for index, original in enumerate(originals):
        left = 4 + index * (scale * size + 4)
        cell = shown[:, 4 : 4 + scale * size : scale, left : left + scale * size : scale]
        assert torch.equal(cell, original)
    assert shown[:, -20:].min() < 128  # captions


# report_to


def test_report_to_is_one_name_or_several_in_yaml_and_on_the_command_line(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    for text, names in (
        ("tensorboard", ["tensorboard"]),
        ("[tensorboard, wandb]", ["tensorboard", "wandb"]),
        ("none", []),
    ):
        recipe.write_text(f"report_to: {text}\n")
        assert parse_recipe(["--config", str(recipe)]).trackers == names
    several = parse_recipe(["--config", str(recipe), "--report_to", "tensorboard", "trackio", "--logging_steps", "7"])
    assert (several.trackers, several.logging_steps) == (["tensorboard", "trackio"], 7)
    several.save(tmp_path / "saved.yaml")
    assert parse_recipe(["--config", str(tmp_path / "saved.yaml")]).trackers == ["tensorboard", "trackio"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tensorbord"], "report_to tensorbord: no such tracker; did you mean 'tensorboard'"),
        (["trackio"], r"report_to trackio: it is not installed: pip install 'modeling-resnet50\[trackio\]'"),
        (["dvclive"], "report_to dvclive: it is not installed: pip install dvclive"),
        (["none", "tensorboard"], "report_to none stands alone"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_tracker_that_is_not_there_is_one_clear_error(names, message, monkeypatch):
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(UserError, match=message):
        check_trackers(names)


def test_a_tracker_that_does_not_start_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "logs").write_text("a file where the folder should be")
    recipe = TrainingArguments(output_dir=str(tmp_path / "run"), report_to="tensorboard")
    accelerator = Accelerator(log_with="tensorboard", project_dir=tmp_path / "run" / "logs")
    with pytest.raises(UserError, match="report_to tensorboard: it does not start: "):
        Tracker(accelerator, recipe, RunFolder(recipe), Progress(), print).begin(["ant"], resumed=False)


def test_extras_are_those_that_the_table_has():
    with (PROJECT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    names = {name for name, kind in KINDS.items() if kind.is_extra}
    assert names == {name for name in extras if name in LoggerType.list()}
    assert all(name in TrainingArguments.__dataclass_fields__["report_to"].metadata["help"] for name in names)
    assert KINDS.keys() <= set(LoggerType.list())


@pytest.mark.parametrize("resumed", [False, True])
def test_each_tracker_is_started_in_its_own_way(resumed, tmp_path):
    """mlflow and wandb, which are not installed for tests, among them."""
    start = Start("digits", tmp_path, "digits-1a2b3c", resumed, step=5)
    started = {name: kind_of(name).init(start) for name in ("tensorboard", "trackio", "wandb", "mlflow", "comet_ml")}
    assert started == {
        "tensorboard": {"purge_step": 6} if resumed else {},
        "trackio": {"name": "digits-1a2b3c", "resume": "allow"},
        "wandb": {"id": "digits-1a2b3c", "name": "digits", "resume": "allow", "dir": str(tmp_path)},
        "mlflow": {"run_id": "digits-1a2b3c" if resumed else None, "run_name": "digits"},
        "comet_ml": {},
    }
    told = SimpleNamespace(tracker=SimpleNamespace(info=SimpleNamespace(run_id="9f")))
    assert [name for name, kind in KINDS.items() if kind.own_id is not None] == ["mlflow"]
    assert KINDS["mlflow"].own_id(told) == "9f"
