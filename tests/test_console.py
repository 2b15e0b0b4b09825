"""The terminal: all that matters on one screen, and nothing but text in a file."""

import io
import re
import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from modeling_resnet50 import ResNet50ForImageClassification
from modeling_resnet50.training import console as console_module
from modeling_resnet50.training.console import TrainingConsole
from modeling_resnet50.training.run_folder import RunFolder
from resnet50_cli import create_parser
from resnet50_recipe.training_arguments import TrainingArguments


ENVIRONMENT = {
    "num_train_images": 1437, "num_validation_images": 360, "num_processes": 4, "num_machines": 1,
    "device_type": "cuda", "devices": {"NVIDIA H100": 4}, "mixed_precision": "fp16",
}  # fmt: skip
ROW = {
    "epoch": 1, "step": 44, "learning_rate": 0.01, "train_loss": 2.0, "train_top1": 0.3, "val_loss": 1.9,
    "val_top1": 0.4, "val_top5": 0.8, "images_per_second": 900.0, "data_wait": 0.05, "bad_images": 0,
    "skipped_steps": 0, "left_out_steps": 0,
}  # fmt: skip


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def shown(request, monkeypatch):
    """A console whose output is kept, on a terminal of 120 columns or in a file, and a clock that stands."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(console_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    console = TrainingConsole(True, num_epochs=3)
    out = io.StringIO()
    console.console = Console(
        file=out, force_terminal=request.param, color_system="truecolor" if request.param else None,
        width=120, highlight=False, soft_wrap=True,
    )  # fmt: skip
    return SimpleNamespace(console=console, text=out.getvalue, clock=clock, terminal=request.param)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_start_and_end_are_one_screen_with_colour_on_a_terminal_only(shown, tiny_config, tmp_path):
    run_path = tmp_path / "[red]run"  # must not be taken for markup
    recipe = TrainingArguments(
        output_dir=str(run_path), dataset_name="digits", report_to=["tensorboard"], total_train_batch_size=32,
        gradient_accumulation_steps=2, num_train_epochs=5,
    )  # fmt: skip
    run = RunFolder(recipe)
    model = ResNet50ForImageClassification(tiny_config)
    shown.console.start(recipe, run, ENVIRONMENT, model, steps_per_epoch=44)
    text = plain(shown.text())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for told in (
        "digits: 1,437 training and 360 validation images, 3 classes", f"{parameters:,} parameters, from scratch",
        "4 processes on cuda, 4 × NVIDIA H100, precision fp16",
        "32 images per step = 4 processes × 2 accumulation steps × 4", "44 an epoch × 5 epochs = 220",
        f"tensorboard --logdir '{run_path}/logs'",
    ):  # fmt: skip
        assert told in text
    run.begin(recipe)
    for epoch, top1 in ((1, 0.4), (2, 0.9), (3, 0.8)):
        run.log({**ROW, "epoch": epoch, "val_top1": top1, "seconds": 60.0 * epoch})
    run.best.mkdir()
    shown.console.finish(recipe, run)
    text = plain(shown.text())
    for told in (
        "3 epochs, 44 steps, 3 minutes", f"val_top1 0.9000, epoch 2: {run.best}", str(run.training_curves),
        f"resnet50 evaluate '{run.best}' --dataset digits", f"resnet50 publish '{run_path}' --to user/name",
        f'from_pretrained("{run.best}")',
    ):  # fmt: skip
        assert told in text
    assert len(text.splitlines()) <= 24
    assert ("\x1b" in shown.text()) == shown.terminal


def test_one_process_without_mixed_precision(shown, tmp_path, tiny_config):
    recipe = TrainingArguments(output_dir=str(tmp_path), dataset_name="digits", total_train_batch_size=32)
    one = {"num_processes": 1, "device_type": "cpu", "devices": {"Intel Xeon": 1}, "mixed_precision": "no"}
    model = ResNet50ForImageClassification(tiny_config)
    shown.console.start(recipe, RunFolder(recipe), {**ENVIRONMENT, **one}, model, steps_per_epoch=44)
    text = plain(shown.text())
    assert "1 process on cpu, 1 × Intel Xeon, precision fp32" in text
    assert "32 images per step = 1 process × 1 accumulation step × 32" in text


def test_the_line_within_an_epoch_tells_the_time_that_is_left_of_it_and_of_the_run(shown):
    metrics = SimpleNamespace(
        read=lambda: (2.5, 0.125, 640.0), data_wait=lambda: 0.25, seconds=lambda: shown.clock.now - 1000
    )
    with shown.console.epoch(2, num_steps=100):
        for _ in range(30):
            shown.clock.now += 4
            shown.console.advance(metrics, learning_rate=0.1)
        bar = shown.console._bar
        text = bar.tasks[0].fields["metrics"] if shown.terminal else shown.text().splitlines()[-1]
    # 4 s a batch: 70 batches of this epoch, and 100 of the one that is left
    assert "4:40 left, 11:20 of the run" in text
    assert "loss 2.500 top-1 12.5% lr 1.0e-01 640 images/s data wait 25%" in text
    if not shown.terminal:  # a line a minute
        assert shown.text().count("epoch 2/3") == 30 * 4 // 60
    if shown.terminal:
        shown.console.console.width = 80
        with shown.console.epoch(2, num_steps=100):
            shown.clock.now += 4
            shown.console.advance(metrics, learning_rate=0.1)
            text = shown.console._bar.tasks[0].fields["metrics"]
        assert "loss 2.500" in text
        assert "of the run" in text
        assert len(text) <= 80 - len("epoch 2/3  1/100 ")
    shown.clock.now += 60  # of validation, which the next epochs will have too
    shown.console.row(ROW, is_best=True)
    with shown.console.epoch(3, num_steps=100):
        for _ in range(50):
            shown.clock.now += 4
            metrics.seconds = lambda: 200
            shown.console.advance(metrics, learning_rate=0.1)
        _, run_left = shown.console._seconds_left(metrics)
    assert run_left == pytest.approx(50 * 4 + 60)


def test_a_row_speaks_of_waiting_for_data_only_where_it_matters(shown):
    shown.console.row(ROW, is_best=True)
    shown.console.row({**ROW, "data_wait": 0.4}, is_best=False)
    _, best, waiting = plain(shown.text()).splitlines()
    assert best.endswith("900.0  best")
    assert waiting.endswith("900.0  data wait 40%")


def test_a_narrow_terminal_shows_fewer_columns_and_a_file_all(shown):
    shown.console.console.width = 80
    shown.console.row(ROW, is_best=True)
    header, row = plain(shown.text()).splitlines()
    assert len(header) + len("  best") == len(row)
    assert (len(row) <= 80) == shown.terminal
    assert all(title in header for title in ("epoch", "lr", "train loss", "val loss", "val top-1"))
    assert ("val top-5" in header) != shown.terminal


def test_what_it_says_to_paste_names_the_images_that_judged_and_survives_a_shell(shown, tmp_path):
    recipe = TrainingArguments(
        output_dir=str(tmp_path / "Grüne Äpfel"), dataset_name="my photos", train_val_split=0.1, seed=7,
        num_train_epochs=1, warmup_epochs=1.0,
    )  # fmt: skip
    run = RunFolder(recipe)
    run.begin(recipe)
    run.log({**ROW, "seconds": 60.0})
    run.best.mkdir()
    shown.console.finish(recipe, run)
    lines = plain(shown.text()).splitlines()
    evaluate, publish = (shlex.split(line[12:]) for line in lines if line.startswith(("evaluate", "publish")))
    assert evaluate[:5] == ["resnet50", "evaluate", str(run.best), "--dataset", "my photos"]
    options = create_parser().parse_args(evaluate[1:])
    assert (options.train_val_split, options.seed) == (0.1, 7)
    assert publish == ["resnet50", "publish", str(run.path), "--to", "user/name"]
    assert "finished    1 epoch, 44 steps, 60 seconds" in lines


def test_three_classes_have_no_top5_and_one_is_one(shown, tiny_config, tmp_path):
    recipe = TrainingArguments(output_dir=str(tmp_path), dataset_name="digits", num_train_epochs=1, warmup_epochs=1.0)
    shown.console.start(
        recipe,
        RunFolder(recipe),
        {**ENVIRONMENT, "num_validation_images": 1},
        ResNet50ForImageClassification(tiny_config),
        1,
    )
    shown.console.row({**ROW, "bad_images": 1, "skipped_steps": 2}, is_best=False)
    text = plain(shown.text())
    assert "val top-5" not in text
    for told in (
        "1 epoch, sgd",
        "1 warm-up epoch)",
        "1 validation image, 3 classes",
        "1 unreadable image replaced  2 steps skipped",
    ):
        assert told in text


@pytest.mark.parametrize(("image_size", "there", "told"), [(32, 1e9, False), (8192, 1e9, True), (8192, None, False)])
def test_memory_is_estimated_beforehand(image_size, there, told, shown, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(console_module, "memory_here", lambda device_type: there)
    one = {"num_processes": 1, "device_type": "cpu", "devices": {"Intel Xeon": 1}, "mixed_precision": "no"}
    recipe = TrainingArguments(
        output_dir=str(tmp_path), dataset_name="digits", image_size=image_size, total_train_batch_size=4
    )
    model = ResNet50ForImageClassification(tiny_config)
    drawn = torch.get_rng_state()
    shown.console.start(recipe, RunFolder(recipe), {**ENVIRONMENT, **one}, model, steps_per_epoch=44)
    assert torch.equal(torch.get_rng_state(), drawn)  # or a resumed run would be another one
    (line,) = [line for line in plain(shown.text()).splitlines() if line.startswith("memory")]
    assert re.match(r"memory      about [\d.]+ GB a process", line)
    assert ("AND IT HAS 1.0 GB: give a smaller --image_size" in line) is told
    recipe = replace(recipe, gradient_checkpointing=True)
    shown.console.start(recipe, RunFolder(recipe), {**ENVIRONMENT, **one}, model, steps_per_epoch=44)
    assert plain(shown.text()).count("memory  ") == 1


def test_other_processes_are_silent(capsys):
    console = TrainingConsole(False, num_epochs=3)
    console.print("something")
    console.row(ROW, is_best=True)
    assert capsys.readouterr().out == ""
