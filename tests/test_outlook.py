"""What the epochs that are over decide: when a run ends, how many epochs it has, and where the learning rate falls."""

import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from shared import PROJECT, tiny_arguments
from test_resuming import outcome, stopped_at
from test_training import run_two_ranks
from torch import nn
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, get_wsd_schedule

from modeling_resnet50.commands import compare
from modeling_resnet50.commands import plan as plan_command
from modeling_resnet50.loop import saving
from modeling_resnet50.plan import IMAGES_PER_SECOND, KNOWN_DATA, make_plan
from modeling_resnet50.training import metrics
from modeling_resnet50.training.metrics import TrainMetrics
from modeling_resnet50.training.optimization import learning_rate_schedule
from modeling_resnet50.training.outlook import look_ahead
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.recipe_file import parse_recipe


def rows_with(name: str, values: list[float], pace: float = 60.0) -> list[dict]:
    """Rows of metrics.jsonl with these values, and so many seconds an epoch."""
    return [
        {"epoch": epoch, "val_loss": 1.0, name: value, "seconds": pace * epoch}
        for epoch, value in enumerate(values, 1)
    ]


def rows_of(run) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def measured(seed: int) -> list[float]:
    """A metric that rises and stands still by turns, with an epoch whose value is no number."""
    values = 0.5 + np.random.default_rng(seed).normal(0.001, 0.01, 60).cumsum()
    values[seed % 60] = math.nan
    return values.tolist()


# Early stopping


def ends_of_transformers(metric: str, values: list[float], patience: int, threshold: float) -> int | None:
    """The epoch after which transformers' Trainer would stop, which notes the best metric after each evaluation."""
    callback = EarlyStoppingCallback(patience, threshold)
    greater = not metric.endswith("loss")
    arguments = SimpleNamespace(metric_for_best_model=metric, greater_is_better=greater)
    state, control = TrainerState(), TrainerControl()
    for epoch, value in enumerate(values, 1):
        callback.on_evaluate(arguments, state, control, metrics={f"eval_{metric}": value})
        if state.best_metric is None or (value > state.best_metric if greater else value < state.best_metric):
            state.best_metric = value
        if control.should_training_stop:
            return epoch
    return None


@pytest.mark.parametrize("metric", ["val_top1", "val_loss"])
@pytest.mark.parametrize(("patience", "threshold"), [(1, 0.0), (3, 0.0), (5, 0.01), (20, 0.002)])
def test_early_stopping_is_transformers(metric, patience, threshold):
    fields = {"early_stopping_patience": patience, "early_stopping_threshold": threshold, "warmup_epochs": 0.0}
    recipe = Recipe(metric_for_best_model=metric, num_train_epochs=100, **fields)
    ends = set()
    for seed in range(1, 12):
        rows = rows_with(metric, measured(seed))
        expected = ends_of_transformers(metric, [row[metric] for row in rows], patience, threshold)
        outlooks = [look_ahead(recipe, rows[:done]) for done in range(len(rows) + 1)]
        found = next((done for done, outlook in enumerate(outlooks) if outlook.epochs <= done), None)
        assert found == expected
        assert found is None or outlooks[found].why.startswith("early stopping: ")
        ends.add(found)
    assert len(ends) > 2


@pytest.mark.parametrize(
    ("fields", "begun"),
    [
        ({"warmup_epochs": 4.0}, 4),
        ({"mixup_alpha": 0.2, "mixup_off_epoch": 6}, 6),
        ({"swa_start_epoch": 6, "batch_norm_recalibration_steps": 2}, 5),
        ({"ema_decay": 0.9, "ema_start_epoch": 7}, 7),
        ({"image_size_start": 112, "image_size_ramp": [2, 8]}, 8),
        ({"freeze_stages": "stage4", "unfreeze_epochs": [2, 5], "model_name_or_path": "user/name"}, 5),
    ],
)
def test_it_is_not_stopped_before_all_that_the_recipe_begins_later_has_had_its_epochs(fields, begun):
    recipe = Recipe(early_stopping_patience=3, num_train_epochs=20, **{"warmup_epochs": 0.0, **fields})
    rows = rows_with("val_top1", [0.9] + 19 * [0.5])
    assert look_ahead(recipe, rows[: begun + 2]).why is None
    assert look_ahead(recipe, rows[: begun + 3]).epochs == begun + 3


def test_of_weights_and_their_average_the_better_one_counts_as_for_best():
    recipe = Recipe(early_stopping_patience=2, ema_decay=0.9, warmup_epochs=0.0)
    rows = rows_with("val_top1", [0.5, 0.4, 0.3, 0.2])
    for row, value in zip(rows, [0.1, 0.6, 0.7, 0.65]):
        row |= {"average_val_top1": value, "average_val_loss": 1.0}
    assert look_ahead(recipe, rows).why is None
    rows.append({"epoch": 5, "val_loss": 1.0, "val_top1": 0.1, "seconds": 300.0})
    ended = look_ahead(recipe, rows)
    assert ended.epochs == 5
    assert ended.why.endswith("has not become better in 2 epochs; the best was 0.7000 after epoch 3")


EARLY = {
    "num_train_epochs": 6, "warmup_epochs": 0, "checkpoint_every_epochs": 1, "ema_decay": 0.5,
    "early_stopping_patience": 2, "early_stopping_threshold": 1000, "metric_for_best_model": "val_loss",
}  # fmt: skip


def test_a_run_that_is_stopped_early_is_a_finished_one_and_says_why(trained, tmp_path, train, capsys, monkeypatch):
    run = trained(**EARLY)
    assert [row["epoch"] for row in rows_of(run)] == [1, 2, 3]
    assert sorted(path.name for path in (run / "checkpoints").iterdir())[-1] == "epoch-0003"
    why = "early stopping: val_loss has not become better by more than 1000 in 2 epochs"
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "finished"
    assert status["reason"].startswith(why)
    for model in ("final", "final_average", "best"):
        card = (run / model / "README.md").read_text().replace("\n", " ")
        assert f"The number of epochs was decided by {why}" in card
        assert "after epoch 3 of 3" in card
    capsys.readouterr()
    main(["status", str(run)])
    assert f"finished, epoch 3 of 6 done, 9 steps; {why}" in capsys.readouterr().out
    monkeypatch.setattr(compare, "draw_comparison", lambda courses, path: path.write_bytes(b""))
    main(["compare", str(run), "--output", str(tmp_path / "picture.png")])
    out = capsys.readouterr().out
    assert re.search(" because of +early stopping", out)
    assert "3 of 6" in out
    main(["compare", str(run), "--json"])
    assert json.loads(capsys.readouterr().out)["epochs_decided_by"].startswith(why)

    # Resumed where it ended, or before, it ends there again with the same weights.
    expected = outcome(run)
    for name in ("epoch-0003", "epoch-0001"):
        again = stopped_at(run / "checkpoints" / name, tmp_path / name)
        arguments = tiny_arguments(run.parent / "images", again, **EARLY)
        train([*arguments, "--resume_from_checkpoint", "latest"])
        assert f"epochs      {why}" in capsys.readouterr().out
        assert outcome(again) == expected

    # With more patience it goes on.
    more = [*arguments, "--early_stopping_patience", "3", "--allow_recipe_change"]
    train([*more, "--resume_from_checkpoint", "latest"])
    assert len(rows_of(again)) == 4


def test_a_threshold_without_patience_is_refused():
    with pytest.raises(UserError, match="early_stopping_threshold says what is better"):
        Recipe(early_stopping_threshold=0.1, early_stopping_patience=0)
    assert look_ahead(Recipe(early_stopping_patience=0), rows_with("val_top1", 9 * [0.5])).epochs == 90


# Schedules


@pytest.mark.parametrize("shape", ["cosine", "linear", "1-sqrt"])
@pytest.mark.parametrize("lowest", [0.0, 0.02])
def test_warmup_stable_decay_is_transformers(shape, lowest):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    theirs = get_wsd_schedule(
        optimizer, num_warmup_steps=14, num_decay_steps=21, num_training_steps=70, decay_type=shape,
        min_lr_ratio=lowest / 0.4,
    )  # fmt: skip
    recipe = Recipe(
        lr_scheduler_type="warmup_stable_decay", learning_rate=0.4, num_train_epochs=10, warmup_epochs=2.0,
        warmup_start_factor=lowest / 0.4, min_learning_rate=lowest, lr_decay_share=0.3, lr_decay_type=shape,
    )  # fmt: skip
    lr_at = learning_rate_schedule(recipe, steps_per_epoch=7)
    for step in range(70):
        assert lr_at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-12)
        optimizer.step()
        theirs.step()


def test_warm_up_decay_and_cooldown_must_fit():
    with pytest.raises(UserError, match="lr_decay_share of 10 epochs, warmup_epochs and cooldown_epochs must fit"):
        Recipe(lr_scheduler_type="warmup_stable_decay", num_train_epochs=10, lr_decay_share=0.6)
    with pytest.raises(UserError, match="lr_step_factor must be below 1 for reduce_lr_on_plateau"):
        Recipe(lr_scheduler_type="reduce_lr_on_plateau", lr_step_factor=1.0)


@pytest.mark.parametrize("metric", ["val_top1", "val_loss"])
def test_reduce_lr_on_plateau_is_pytorchs_and_a_function_of_the_history(metric):
    settings = {"factor": 0.3, "patience": 2, "threshold": 0.01, "min_lr": 0.001}
    recipe = Recipe(
        lr_scheduler_type="reduce_lr_on_plateau", learning_rate=0.4, num_train_epochs=60, warmup_epochs=0.0,
        lr_step_factor=0.3, lr_plateau_patience=2, lr_plateau_threshold=0.01, min_learning_rate=0.001,
        metric_for_best_model=metric,
    )  # fmt: skip
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    mode = "min" if metric == "val_loss" else "max"
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **settings)
    rows, rates = rows_with(metric, measured(3)), []
    for done in range(len(rows)):
        lr_at = learning_rate_schedule(recipe, 7, look_ahead(recipe, rows[:done]))
        rates.append(optimizer.param_groups[0]["lr"])
        assert [lr_at(7 * epoch + 3) for epoch in range(done + 1)] == rates
        optimizer.step()
        theirs.step(rows[done][metric])
    assert len(set(rates)) > 4


def test_a_plateau_is_not_seen_in_the_warm_up():
    fields = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_plateau_patience": 0, "learning_rate": 0.4}
    outlook = look_ahead(Recipe(warmup_epochs=2.5, **fields), rows_with("val_top1", [0.9, 0.1, 0.5, 0.5, 0.5]))
    assert outlook.falls == ((4, pytest.approx(0.04)), (5, pytest.approx(0.004)))


PLATEAU = {
    "num_train_epochs": 4, "warmup_epochs": 0, "checkpoint_every_epochs": 1, "learning_rate": 0.1,
    "lr_scheduler_type": "reduce_lr_on_plateau", "lr_plateau_patience": 0, "lr_plateau_threshold": 1000,
}  # fmt: skip


def test_a_run_falls_by_its_own_history_and_a_resumed_one_alike(trained, tmp_path, train):
    run = trained(**PLATEAU)
    assert [row["learning_rate"] for row in rows_of(run)] == pytest.approx([0.1, 0.1, 0.01, 0.001])
    again = stopped_at(run / "checkpoints" / "epoch-0003", tmp_path / "again")
    train([*tiny_arguments(run.parent / "images", again, **PLATEAU), "--resume_from_checkpoint", "latest"])
    assert outcome(again) == outcome(run)


def test_all_processes_of_a_run_come_to_the_same(image_folder, tmp_path):
    settings = {**PLATEAU, "early_stopping_patience": 2, "early_stopping_threshold": 1000}
    assert (
        "early stopping: val_top1" in run_two_ranks(tiny_arguments(image_folder, tmp_path / "run", **settings)).stdout
    )
    rows = rows_of(tmp_path / "run")
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.1, 0.1, 0.01])


# A budget of hours


@pytest.mark.parametrize(
    ("hours", "seconds", "epochs", "why"),
    [
        (1.0, [], 90, None),
        (1.0, [900], 90, None),
        (1.0, [2000], 1, "max_hours 1: 1 of 90 epochs fit, 33.3 minutes each"),  # no second one would
        (1.0, [900, 1200], 9, "max_hours 1: 9 of 90 epochs fit, 5 minutes each"),  # 2 + (0.97 · 3600 - 1200) / 300
        (1.0, [900, 1200, 2000, 3500], 9, "max_hours 1: 9 of 90 epochs fit, 5 minutes each"),  # fixed
        (1.0, [900, 1200, 2000, 3600], 4, "max_hours 1: over in epoch 4 of 9"),
        (1.0, [900, 3500], 2, "max_hours 1: 2 of 90 epochs fit, 43.3 minutes each"),
        (0.1, [900], 1, "max_hours 0.1: 1 of 90 epochs fit, 15 minutes each"),
        (8.0, [200, 300], 90, "max_hours 8: all 90 epochs fit, 100 seconds each"),
    ],
)
def test_max_hours_fixes_the_number_of_epochs_once(hours, seconds, epochs, why):
    rows = [{"epoch": epoch, "val_loss": 1.0, "seconds": passed} for epoch, passed in enumerate(seconds, 1)]
    found = look_ahead(Recipe(max_hours=hours, warmup_epochs=0.0), rows)
    assert (found.epochs, found.why) == (epochs, why and why.replace("100 seconds", "1.7 minutes"))


def test_what_the_recipe_begins_too_late_for_the_hours_is_named():
    recipe = Recipe(max_hours=1.0, swa_start_epoch=75, batch_norm_recalibration_steps=10, warmup_epochs=9.0)
    found = look_ahead(recipe, rows_with("val_top1", [0.5, 0.5], pace=600.0))
    assert (
        found.why
        == "max_hours 1: 5 of 90 epochs fit, 10 minutes each; they end before warmup_epochs and swa_start_epoch"
    )


@pytest.mark.parametrize("kind", ["cosine", "one_cycle", "linear", "polynomial", "warmup_stable_decay"])
def test_once_fixed_the_schedule_is_that_of_so_many_epochs(kind):
    recipe = Recipe(lr_scheduler_type=kind, max_hours=1.0, warmup_epochs=2.0, cooldown_epochs=0.0)
    shorter = Recipe(lr_scheduler_type=kind, num_train_epochs=5, warmup_epochs=2.0)
    outlook = look_ahead(recipe, rows_with("val_top1", [0.5, 0.5], pace=600.0))
    fixed, whole, before = (
        learning_rate_schedule(*each) for each in ((recipe, 7, outlook), (shorter, 7), (recipe, 7, None))
    )
    assert [fixed(step) for step in range(35)] == [whole(step) for step in range(35)]
    # Nor does fixing it change what was before, if there is a warm-up.
    assert [fixed(step) for step in range(14)] == pytest.approx([before(step) for step in range(14)])


BUDGET = {
    "num_train_epochs": 8, "warmup_epochs": 1, "learning_rate": 0.1, "checkpoint_every_epochs": 1, "max_hours": 1
}  # fmt: skip


def test_a_run_within_hours_keeps_its_plan_when_it_is_resumed_and_ends_when_they_are_over(
    image_folder, tmp_path, train, monkeypatch, capsys
):
    monkeypatch.setattr(TrainMetrics, "seconds_of_epoch", lambda self: 600.0)
    run = tmp_path / "run"
    arguments = tiny_arguments(image_folder, run, **BUDGET)
    train(arguments)
    out = capsys.readouterr().out
    assert out.count("max_hours 1: 5 of 8 epochs fit, 10 minutes each") == 2, "when it is fixed, and at the end"
    rows = rows_of(run)
    lr_at = learning_rate_schedule(Recipe(num_train_epochs=5, warmup_epochs=1.0, learning_rate=0.1), 3)
    assert len(rows) == 5
    for row in rows[2:]:
        assert row["learning_rate"] == lr_at(row["step"] - 1)

    again = stopped_at(run / "checkpoints" / "epoch-0003", tmp_path / "again")
    shutil.copytree(again, tmp_path / "slower")
    for folder, pace in ((again, 700.0), (tmp_path / "slower", 2000.0)):
        monkeypatch.setattr(TrainMetrics, "seconds_of_epoch", lambda self, pace=pace: pace)
        train([*tiny_arguments(image_folder, folder, **BUDGET), "--resume_from_checkpoint", "latest"])
    assert outcome(again) == outcome(run)
    assert len(rows_of(tmp_path / "slower")) == 4
    status = json.loads((tmp_path / "slower" / "status.json").read_text())
    assert (status["status"], status["reason"]) == ("finished", "max_hours 1: over in epoch 4 of 5")


def test_validation_and_saving_are_in_the_seconds_of_a_run(image_folder, tmp_path, train, monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def passing(seconds, function):
        def called(*arguments, **named):
            clock.now += seconds
            return function(*arguments, **named)

        return called

    for module in (metrics, saving):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=passing(1e-6, lambda: clock.now)))
    monkeypatch.setattr(train.script, "evaluate_epoch", passing(5.0, train.script.evaluate_epoch))
    monkeypatch.setattr(saving.CheckpointWriter, "save", passing(100.0, saving.CheckpointWriter.save))
    train(tiny_arguments(image_folder, tmp_path / "run", num_train_epochs=3, checkpoint_every_epochs=2))
    assert [row["seconds"] for row in rows_of(tmp_path / "run")] == pytest.approx([5, 10, 115], abs=0.01)


# The plan, and other places


def test_the_plan_says_what_may_end_a_run_and_how_many_epochs_fit():
    fields = ["--max_hours", "10", "--early_stopping_patience", "5"]
    recipe = parse_recipe(["--config", str(PROJECT / "recipes" / "imagenet1k.yaml"), *fields])
    plan = make_plan(recipe, KNOWN_DATA["ILSVRC/imagenet-1k"], num_processes=8)
    console = Console(record=True, width=200, soft_wrap=True, quiet=False)
    with console.capture() as shown:
        plan_command.show(plan, console=console)
    told = "or it ends when val_top1 has not become better in 5 epochs or with as many epochs as fit into 10 hours"
    assert told in shown.get()
    rate = IMAGES_PER_SECOND["A100"]
    assert plan.epochs(rate) == min(90, math.floor(90 * 9.7 / plan.hours(rate)))
    assert plan.epochs(rate / 8) < 90
    assert f"({plan.epochs(rate)} epochs in max_hours)" in shown.get()
    assert plan.epochs(1e-3) == 1
