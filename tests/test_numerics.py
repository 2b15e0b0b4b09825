"""Numbers that go wrong: noticed before the optimizer steps, explained, left out on request, and never published."""

import errno
import json
import math
import statistics
import threading
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from shared import TINY, tiny_arguments
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.loader import DeviceLoader
from modeling_resnet50.training import recent_steps
from modeling_resnet50.training.averaging import create_average
from modeling_resnet50.training.checkpoint import CheckpointWriter, Progress, non_finite_tensors
from modeling_resnet50.training.numerics import NumericsGuard
from modeling_resnet50.training.optimization import create_optimizer, learning_rate_schedule
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.supervision import Supervisor
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.training_arguments import TrainingArguments


SETTINGS = {"total_train_batch_size": 4, "num_train_epochs": 2, "checkpoint_every_epochs": 1}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(run):
    return lines_of(run / "metrics.jsonl")


@pytest.fixture
def spoil(monkeypatch):
    """Multiply the pixels of one batch of an epoch, or of all, by a number."""
    original = DeviceLoader.__iter__

    def spoil(epoch: int, number: int | None, factor: float) -> None:
        def spoiled(self):
            for batch in original(self):
                if getattr(self.sampler, "epoch", None) == epoch and number in (None, batch["number"]):
                    batch["pixel_values"] = batch["pixel_values"] * factor
                yield batch

        monkeypatch.setattr(DeviceLoader, "__iter__", spoiled)

    return spoil


@pytest.fixture
def train_scaled(train, monkeypatch):
    """`train` with fp16's loss scaling, which accelerate does not build on a CPU, in float32 arithmetic."""

    def run(arguments, **scaling):
        def create(recipe):
            accelerator = Accelerator(
                mixed_precision="no", gradient_accumulation_steps=recipe.gradient_accumulation_steps
            )
            accelerator.scaler = torch.amp.GradScaler("cpu", **scaling)
            return accelerator

        monkeypatch.setattr("modeling_resnet50.loop.run.create_accelerator", create)
        train(arguments)

    return run


def test_a_loss_scaler_that_has_no_reason_to_skip_changes_nothing(image_folder, tmp_path, trained, train_scaled):
    train_scaled(tiny_arguments(image_folder, tmp_path / "scaled", **SETTINGS), init_scale=2.0**10)
    plain, scaled = (load_file(run / "final/model.safetensors") for run in (trained(**SETTINGS), tmp_path / "scaled"))
    assert all(torch.equal(plain[name], scaled[name]) for name in plain)  # a power of two is exact


def test_skipped_steps_are_counted_and_not_in_the_schedule_and_leave_batch_norm_alone(
    image_folder, tmp_path, train_scaled, spoil, capsys
):
    spoil(epoch=1, number=2, factor=math.inf)  # its forward pass alone makes running_mean infinite
    arguments = tiny_arguments(image_folder, tmp_path / "run", **SETTINGS)
    train_scaled(arguments, init_scale=8.0)
    first, second = rows_of(tmp_path / "run")
    assert (first["step"], second["step"]) == (5, 11)
    assert (first["skipped_steps"], second["skipped_steps"]) == (1, 1)
    assert math.isfinite(first["train_loss"])
    assert first["learning_rate"] == learning_rate_schedule(parse_recipe(arguments), steps_per_epoch=6)(4)
    assert not non_finite_tensors(load_file(tmp_path / "run" / "final" / "model.safetensors"))
    assert "1 step skipped" in capsys.readouterr().out
    state = json.loads((tmp_path / "run" / "checkpoints" / "epoch-0002" / "state.json").read_text())
    assert state["scaler"]["scale"] == 4.0


def test_batch_norms_buffers_after_a_skipped_step_are_those_of_a_run_without_that_step(
    image_folder, tmp_path, train_scaled, spoil
):
    """The last step of the only epoch is skipped: the model is that of the checkpoint one step earlier."""
    spoil(epoch=1, number=5, factor=math.nan)
    settings = {**SETTINGS, "num_train_epochs": 1, "checkpoint_every_steps": 5}
    train_scaled(tiny_arguments(image_folder, tmp_path / "run", **settings), init_scale=8.0)
    before = load_file(tmp_path / "run" / "checkpoints" / "epoch-0000-batch-000005" / "model.safetensors")
    after = load_file(tmp_path / "run" / "final" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "fields",
    [
        {"optim_args": {}},
        {"optim_args": {}, "gradient_accumulation_steps": 2, "max_grad_norm": 0.5},
        {"optim": "adamw", "learning_rate": 0.001, "optim_args": {"betas": [0.9, 0.99]}},
    ],
)
def test_a_fused_optimizers_skipped_steps_are_seen(fields, image_folder, tmp_path, train_scaled, spoil):
    """It skips within its kernel, of which accelerate does not know: everything is as with one that is not fused."""
    passes = fields.get("gradient_accumulation_steps", 1)
    spoil(epoch=1, number=2 * passes, factor=math.inf)
    settings = {**SETTINGS, **fields, "ema_decay": 0.9, "checkpoint_every_steps": 4}
    for run, fused in (("plain", {"fused": False}), ("fused", {"fused": True})):
        arguments = {**settings, "optim_args": json.dumps({**fields["optim_args"], **fused})}
        train_scaled(tiny_arguments(image_folder, tmp_path / run, **arguments), init_scale=8.0, growth_interval=3)
    told = "step", "skipped_steps", "learning_rate"
    plain, fused = ([[row[name] for name in told] for row in rows_of(tmp_path / run)] for run in ("plain", "fused"))
    assert plain == fused
    assert [row[:2] for row in plain] == [[5, 1], [11, 1]]
    for model in ("final", "final_average", "checkpoints/epoch-0001-batch-000002"):
        if not (tmp_path / "plain" / model).exists():
            continue
        ours, theirs = (load_file(tmp_path / run / model / "model.safetensors") for run in ("fused", "plain"))
        assert not non_finite_tensors(ours)
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-5)


def test_a_fused_optimizers_first_step_may_be_skipped(image_folder, tmp_path, train_scaled, spoil, monkeypatch):
    """PyTorch's fused SGD would go on from a momentum of memory as it came, which here is NaN."""
    spoil(epoch=1, number=0, factor=math.inf)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        for run, fused in (("plain", False), ("fused", True)):
            arguments = {**SETTINGS, "optim_args": json.dumps({"fused": fused})}
            train_scaled(tiny_arguments(image_folder, tmp_path / run, **arguments), init_scale=8.0)
    finally:
        torch.use_deterministic_algorithms(False)
    plain, fused = (load_file(tmp_path / run / "final" / "model.safetensors") for run in ("plain", "fused"))
    for name, value in plain.items():
        torch.testing.assert_close(fused[name], value, rtol=1e-4, atol=1e-5)
    assert rows_of(tmp_path / "fused")[0]["skipped_steps"] == 1


def test_a_run_with_a_scaler_resumes_bit_for_bit(image_folder, tmp_path, train_scaled, spoil):
    spoil(epoch=1, number=2, factor=math.inf)
    train_scaled(tiny_arguments(image_folder, tmp_path / "whole", **SETTINGS), init_scale=8.0, growth_interval=3)
    first = tmp_path / "whole" / "checkpoints" / "epoch-0001"
    arguments = tiny_arguments(image_folder, tmp_path / "resumed", **SETTINGS, resume_from_checkpoint=first)
    train_scaled(arguments, init_scale=2.0**16)
    name = "checkpoints/epoch-0002"
    for file in ("model.safetensors", "optimizer.pt"):
        assert (tmp_path / "whole" / name / file).read_bytes() == (tmp_path / "resumed" / name / file).read_bytes()
    states = [json.loads((tmp_path / run / name / "state.json").read_text()) for run in ("whole", "resumed")]
    assert states[0] == states[1]


def test_too_many_skipped_in_a_row_stop_with_a_diagnosis(image_folder, tmp_path, train_scaled, spoil):
    spoil(epoch=1, number=None, factor=math.nan)
    arguments = tiny_arguments(image_folder, tmp_path / "run", **SETTINGS, max_skipped_steps=3)
    with pytest.raises(UserError, match=r"fp16 skipped 3 steps in a row.*after 0 steps, in epoch 1.*loss scale 1;"):
        train_scaled(arguments, init_scale=8.0)


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_the_weights_know(factor, image_folder, tmp_path, train, spoil):
    spoil(epoch=2, number=3, factor=factor)
    run = tmp_path / "run"
    with pytest.raises(
        UserError, match=r"the loss is nan, after 9 steps, in epoch 2: learning rate .*; not finite among"
    ):
        train(tiny_arguments(image_folder, run, **SETTINGS))
    (record,) = lines_of(run / "nonfinite.jsonl")
    assert (record["losses"], record["gradient_norm"]) == (["nan"], "nan")
    assert (record["epoch"], record["images_before"], record["step"]) == (2, 12, 9)
    assert record["weights"][0] == "bn1.running_mean"  # where it began
    assert len(record["images"]) == 4
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    # What was there before is what it was.
    for model in ("best", "checkpoints/epoch-0001"):
        assert not non_finite_tensors(load_file(run / model / "model.safetensors"))
    assert not (run / "final").exists()


def test_a_disk_that_does_not_take_the_diagnosis_does_not_hide_it(image_folder, tmp_path, train, spoil, monkeypatch):
    spoil(epoch=1, number=3, factor=math.nan)
    original = Path.open

    def full(self, *arguments, **options):
        if self.name == "nonfinite.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"the loss is nan, .*nonfinite.jsonl could not be written: No space left"):
        train(tiny_arguments(image_folder, tmp_path / "run", **SETTINGS))


def test_rolled_back_it_goes_on_without_those_images(image_folder, tmp_path, train, spoil, capsys):
    spoil(epoch=2, number=3, factor=math.nan)
    run = tmp_path / "run"
    train(tiny_arguments(image_folder, run, **SETTINGS, on_nonfinite="rollback"))
    out = capsys.readouterr().out
    assert "back to" in out
    assert "1 steps are left out" in out
    assert [row["step"] for row in rows_of(run)] == [6, 11]
    assert rows_of(run)[-1]["left_out_steps"] == 1
    assert not non_finite_tensors(load_file(run / "final" / "model.safetensors"))
    state = json.loads((run / "checkpoints" / "epoch-0002" / "state.json").read_text())
    assert state["progress"]["left_out"] == [[2, 12]]


def test_a_rollback_needs_a_checkpoint(image_folder, tmp_path, train, spoil):
    spoil(epoch=1, number=1, factor=math.nan)
    with pytest.raises(UserError, match="no checkpoint yet to go back to"):
        train(tiny_arguments(image_folder, tmp_path / "run", **SETTINGS, on_nonfinite="rollback"))


def test_a_loss_that_leaps_stops(image_folder, tmp_path, train, monkeypatch):
    original = nn.CrossEntropyLoss.forward
    calls = []

    def leaping(self, logits, targets):
        calls.append(1)
        return original(self, logits, targets) * (40 if len(calls) == 9 else 1)

    monkeypatch.setattr(nn.CrossEntropyLoss, "forward", leaping)
    arguments = tiny_arguments(image_folder, tmp_path / "run", **SETTINGS)
    with pytest.raises(
        UserError, match=r"the loss leapt to .* more than 10 \(loss_spike_factor\) times .*after 8 steps"
    ):
        train(arguments)
    (record,) = lines_of(tmp_path / "run" / "nonfinite.jsonl")
    assert len(record["losses_before"]) == 8
    assert record["median"] == statistics.median(record["losses_before"])
    assert record["guessing"] == math.log(3)
    (leapt,) = record["losses"]
    assert leapt > 10 * max(record["guessing"], record["median"])
    assert record["gradient_norm"] > 0
    # The same of each step, without a tracker.
    steps = lines_of(tmp_path / "run" / "recent_steps.jsonl")
    assert [step["step"] for step in steps] == list(range(1, 10))
    assert [step["loss"] for step in steps] == [*record["losses_before"], leapt]
    assert steps[-1]["gradient_norm"] == record["gradient_norm"]
    assert steps[-1]["learning_rate"] == record["learning_rate"]
    lr_at = learning_rate_schedule(parse_recipe(arguments), steps_per_epoch=6)
    assert [step["learning_rate"] for step in steps] == [lr_at(step) for step in range(9)]


def test_the_last_steps_are_told_once_across_starts_with_what_clipping_and_fp16_found(
    image_folder, tmp_path, train_scaled, spoil, monkeypatch
):
    spoil(epoch=1, number=2, factor=math.inf)
    monkeypatch.setattr(recent_steps, "LENGTH", 10)
    run = tmp_path / "run"
    arguments = tiny_arguments(image_folder, run, **SETTINGS, max_grad_norm=0.5)
    norms, clip = [], Accelerator.clip_grad_norm_
    monkeypatch.setattr(Accelerator, "clip_grad_norm_", lambda *a, **kw: norms.append(clip(*a, **kw)) or norms[-1])
    train_scaled(arguments, init_scale=8.0)
    steps = lines_of(run / "recent_steps.jsonl")
    assert [step["step"] for step in steps] == [3, 3, *range(4, 12)]  # the last 10 of 12, one of them skipped
    assert steps[0] == {**steps[0], "loss": "nan", "skipped": True}
    assert not any("skipped" in step for step in steps[1:])
    assert [step["gradient_norm"] for step in steps[1:]] == [norm.item() for norm in norms[3:]]
    # Resumed from the middle, its steps come after those.
    train_scaled([*arguments, "--resume_from_checkpoint", str(run / "checkpoints" / "epoch-0001")], init_scale=8.0)
    again = lines_of(run / "recent_steps.jsonl")
    assert [step["step"] for step in again] == [*range(8, 12), *range(6, 12)]
    assert again[-6:] == steps[-6:]


def test_where_the_loss_is_not_asked_for_no_step_is_told(image_folder, tmp_path, train_scaled):
    recipe = tmp_path / "unwatched.yaml"
    recipe.write_text("loss_spike_factor:\n")
    arguments = tiny_arguments(image_folder, tmp_path / "run", **SETTINGS)
    train_scaled([*arguments, "--config", str(recipe)], init_scale=8.0)
    assert not (tmp_path / "run" / "recent_steps.jsonl").exists()


def test_weights_that_are_no_numbers_are_neither_best_nor_final_nor_a_checkpoint(
    image_folder, tmp_path, train, monkeypatch, capsys
):
    step = torch.optim.SGD.step
    steps = []

    def poisoned(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        if self.param_groups[0]["params"][0].ndim != 4:
            return result  # by which an optimizer's memory is worked out beforehand
        steps.append(1)
        if len(steps) == 6:  # the last one of the only epoch: no loss comes after it
            self.param_groups[0]["params"][0].data[0, 0, 0, 0] = math.nan
        return result

    monkeypatch.setattr(torch.optim.SGD, "step", poisoned)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"final was not written: some weights are not finite"):
        train(tiny_arguments(image_folder, run, **{**SETTINGS, "num_train_epochs": 1}))
    assert not (run / "best").exists()
    assert not (run / "final").exists()
    assert not list(run.glob("checkpoints/epoch*"))
    assert "epoch-0001 was not written: model.conv1.weight is not finite" in capsys.readouterr().out


def test_a_run_that_fails_ends_when_the_checkpoint_that_is_being_written_stands(
    image_folder, tmp_path, train, spoil, monkeypatch
):
    run, failed, at_that_time = tmp_path / "run", threading.Event(), []
    write, end = CheckpointWriter._write, Supervisor._end_with

    def write_when_the_run_has_failed(self, *contents):
        failed.wait(60)
        written = write(self, *contents)
        at_that_time.append(self.run.status()["status"])
        return written

    def run_has_failed(self, error):
        failed.set()
        end(self, error)

    monkeypatch.setattr(CheckpointWriter, "_write", write_when_the_run_has_failed)
    monkeypatch.setattr(Supervisor, "_end_with", run_has_failed)
    spoil(epoch=2, number=3, factor=math.nan)
    with pytest.raises(UserError, match="the loss is nan"):
        train(tiny_arguments(image_folder, run, **SETTINGS))
    assert at_that_time == ["running"]
    assert not non_finite_tensors(load_file(run / "checkpoints" / "epoch-0001" / "model.safetensors"))
    assert json.loads((run / "status.json").read_text())["status"] == "failed"


def test_with_a_fused_optimizer_nothing_of_a_step_is_read_before_the_next_one_is_queued(tmp_path, monkeypatch):
    """On a GPU, reading is waiting. A step's outcome, its norm of the gradient and the next loss are read together."""
    recipe = TrainingArguments(ema_decay=0.9, image_size=16, optim_args={"fused": True}, max_grad_norm=1.0)
    accelerator = Accelerator(mixed_precision="no")
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)).train()
    average = create_average(model, recipe)
    model, optimizer = accelerator.prepare(model, create_optimizer(model, recipe))
    progress = Progress()
    guard = NumericsGuard(
        accelerator, model, optimizer, recipe, 3, RunFolder(TrainingArguments(output_dir=str(tmp_path))), progress
    )
    assert guard.outcome_is_late
    reads: list[str] = []
    stage = ""

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                reads.append(stage)
            return func(*args, **(kwargs or {}))

    with Reads():
        for number in range(4):
            images = torch.full((2, 3, 16, 16), math.inf if number == 1 else 0.5)
            stage = f"forward and backward {number}"
            guard.begin_step()
            loss = model(images).logits.square().mean()
            guard.watch(loss, [0, 1])
            accelerator.backward(loss)
            stage = f"decision {number}"
            if guard.step_is_open and guard.step_was_taken():
                progress.step += 1
                average.after_step(model, guard.buffers_of(model), progress.step, 1)
            assert guard.judge(0.1) is None
            stage = f"step {number}"
            guard.gradients_were_clipped(accelerator.clip_grad_norm_(model.parameters(), 1.0))
            optimizer.step()
            optimizer.zero_grad()
            guard.step_ended()
        stage = "end"
        assert guard.step_was_taken()
    assert reads == ["decision 0", *["decision 1"] * 3, *["decision 2"] * 3, *["decision 3"] * 3, "end"]
    assert (progress.step, progress.skipped_steps) == (2, 1)  # and the last, which is counted by whoever asked
    assert all(torch.isfinite(value).all() for value in average.module.state_dict().values())


@pytest.mark.parametrize(
    ("optim", "given", "on_gpu", "on_cpu"),
    [
        ("sgd", None, True, None),
        ("adamw", {"betas": [0.9, 0.99]}, True, None),
        ("sgd", {"foreach": True}, None, None),
        ("sgd", {"fused": False}, False, False),
        ("lamb", None, None, None),
    ],
)
def test_optimizers_are_fused_on_a_gpu_where_they_can_be(optim, given, on_gpu, on_cpu):
    recipe = TrainingArguments(optim=optim, optim_args=given)
    with FakeTensorMode():  # there is no GPU, but it looks like one
        for device, fused in (("cuda", on_gpu), ("cpu", on_cpu)):
            optimizer = create_optimizer(torch.nn.Linear(3, 3, device=device), recipe)
            assert [group.get("fused") for group in optimizer.param_groups] == [fused]
