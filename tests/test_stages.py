"""What learns of the network, from when on and how fast: against timm, and in runs."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file
from shared import TINY, as_if_trained, tiny_arguments
from test_training import run_two_ranks
from timm.optim import param_groups_layer_decay

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.plan import forward_flops, training_passes
from modeling_resnet50.training.averaging import create_average
from modeling_resnet50.training.optimization import create_optimizer, parameter_groups, set_learning_rate
from modeling_resnet50.training.stages import freeze_for_good, frozen_parts
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


FREEZE = {"freeze_stages": "backbone", "model_name_or_path": "somewhere"}


def tiny() -> ResNet50ForImageClassification:
    return ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3))


# Learning rates


@pytest.mark.parametrize("depths", [[3, 4, 6, 3], [1, 2, 1, 1]])
def test_layer_decay_is_timms_parameter_by_parameter(depths):
    with torch.device("meta"):
        model = ResNet50ForImageClassification(ResNet50Config(depths=depths, num_labels=3))
        theirs = timm.models.resnet.ResNet(timm.models.resnet.Bottleneck, depths, num_classes=3)
    expected = {}
    for group in param_groups_layer_decay(theirs, layer_decay=0.7):
        names = {id(parameter): name for name, parameter in theirs.named_parameters()}
        expected |= {names[id(parameter)]: group["lr_scale"] for parameter in group["params"]}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in parameter_groups(model, Recipe(layer_decay=0.7, weight_decay_on="all_but_norm")):
        found |= {names[id(parameter)]: group["lr_scale"] for parameter in group["params"]}
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected)


def test_scaled_groups_keep_their_weight_decay_and_follow_the_schedule():
    recipe = Recipe(head_learning_rate_factor=10.0, weight_decay_on="all_but_norm_and_bias", learning_rate=0.5)
    model = tiny()
    optimizer = create_optimizer(model, recipe)
    set_learning_rate(optimizer, 0.25)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        seen |= {names[id(p)]: (group["lr"], group["weight_decay"]) for p in group["params"]}
    assert seen.keys() == set(names.values())
    assert seen["fc.weight"] == (2.5, 1e-4)
    assert seen["fc.bias"] == (2.5, 0.0)
    assert seen["conv1.weight"] == (0.25, 1e-4)
    assert seen["bn1.weight"] == (0.25, 0.0)


def test_without_scales_groups_are_what_they_were():
    assert [sorted(group) for group in parameter_groups(tiny(), Recipe())] == [["params", "weight_decay"]]


# Freezing


@pytest.mark.parametrize(
    ("fields", "epoch", "frozen"),
    [
        ({}, 1, "conv1 bn1 layer1 layer2"), ({"freeze_stages": "stem"}, 1, "conv1 bn1"),
        ({"freeze_stages": "stage1"}, 5, "conv1 bn1 layer1"),
        ({"unfreeze_epochs": [2, 4, 4]}, 2, "conv1 bn1 layer1 layer2"),
        ({"unfreeze_epochs": [2, 4, 4]}, 3, "conv1 bn1 layer1"),
        ({"unfreeze_epochs": [2, 4, 4]}, 5, ""), ({"unfreeze_epochs": [2, 4]}, 90, "conv1 bn1"),
    ],
)  # fmt: skip
def test_what_is_frozen_is_a_function_of_the_epoch(fields, epoch, frozen):
    model = tiny()
    parts = frozen_parts(model, Recipe(**{**FREEZE, **fields}), epoch)
    assert [id(part) for part in parts] == [id(getattr(model, name)) for name in frozen.split()]


def test_what_never_learns_is_not_the_optimizers():
    model = tiny()
    recipe = Recipe(**FREEZE, unfreeze_epochs=[3])
    freeze_for_good(model, recipe)
    learning = {id(p) for group in create_optimizer(model, recipe).param_groups for p in group["params"]}
    names = {name.split(".")[0] for name, parameter in model.named_parameters() if id(parameter) in learning}
    assert names == {"layer2", "fc"}


def test_freezing_that_cannot_be_meant_is_refused():
    for fields, message in (
        ({"freeze_stages": "stem"}, "from scratch there are none"),
        ({"unfreeze_epochs": [1]}, "frees what freeze_stages holds"),
        ({**FREEZE, "unfreeze_epochs": [3, 2]}, "do not fall"),
        ({**FREEZE, "unfreeze_epochs": [90]}, "must lie before the last of 90"),
        ({**FREEZE, "batch_norm_recalibration_steps": 5}, "which freeze_stages keeps"),
        ({"freeze_batch_norm": True, "batch_norm_recalibration_steps": 5}, "which freeze_batch_norm keeps"),
        ({"swa_start_epoch": 2}, "swa_start_epoch needs --batch_norm_recalibration_steps"),
    ):
        with pytest.raises(UserError, match=message):
            Recipe(**fields)
    with pytest.raises(UserError, match="the network has 2 stages"):
        frozen_parts(tiny(), Recipe(**{**FREEZE, "freeze_stages": "stage3"}), 1)
    with pytest.raises(UserError, match="holds 3 parts"):
        frozen_parts(tiny(), Recipe(**FREEZE, unfreeze_epochs=[1, 1, 1, 1]), 1)


def test_weights_averaged_under_frozen_batch_norm_have_its_statistics():
    model = as_if_trained(tiny())
    average = create_average(model, Recipe(freeze_batch_norm=True, swa_start_epoch=1))
    first = model.fc.weight.detach().clone()
    average.after_epoch(model, 1)
    with torch.no_grad():
        model.fc.weight += 1
    average.after_epoch(model, 2)
    torch.testing.assert_close(average.module.fc.weight, first + 0.5)
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, average.module.get_buffer(name)), name


def test_a_plan_counts_no_backward_pass_through_what_is_frozen():
    with torch.device("meta"):
        whole, head = (ResNet50ForImageClassification(ResNet50Config()) for _ in range(2))
    freeze_for_good(head, Recipe(**FREEZE))
    forward = forward_flops(whole, 224)
    assert training_passes(whole, 224) == 3
    assert training_passes(head, 224) == pytest.approx(1 + 2 * 2048 * 1000 / forward, abs=1e-3)


def state_of(checkpoint):
    return load_file(checkpoint / "model.safetensors")


def changed(before, after) -> set[str]:
    """The parts in which anything changed, BatchNorm's statistics too."""
    return {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture
def fine_tuning(tmp_path) -> dict:
    """A model to start from, at `start`, and a run that frees its second stage after an epoch."""
    processor = image_processor(Preprocessing(18, 16))
    save_model_and_processor(tmp_path / "start", as_if_trained(tiny()), processor)
    return {
        "model_name_or_path": tmp_path / "start", "freeze_stages": "backbone", "unfreeze_epochs": [1],
        "layer_decay": 0.5, "max_grad_norm": 1.0, "num_train_epochs": 2, "warmup_epochs": 0,
    }  # fmt: skip


def test_a_run_frees_stage_by_stage_and_resumes_to_the_same_weights(train, fine_tuning, image_folder, tmp_path):
    start = load_file(tmp_path / "start" / "model.safetensors")
    fields = {**fine_tuning, "checkpoint_every_epochs": 1, "checkpoint_every_steps": 1, "ema_decay": 0.5}
    train(tiny_arguments(image_folder, tmp_path / "run", **fields))
    checkpoints = tmp_path / "run" / "checkpoints"
    first, last = (state_of(checkpoints / name) for name in ("epoch-0001", "epoch-0002"))
    assert changed(start, first) == {"fc"}
    assert changed(first, last) == {"fc", "layer2"}
    before = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    for middle in ("epoch-0000-batch-000002", "epoch-0001-batch-000001"):
        where = {"resume_from_checkpoint": checkpoints / middle}
        train(tiny_arguments(image_folder, tmp_path / "run", **fields, **where))
        assert not changed(last, state_of(checkpoints / "epoch-0002"))
        again = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(row)["val_loss"] for row in before] == [json.loads(row)["val_loss"] for row in again]


def test_two_processes_train_the_weights_of_one_that_accumulates(train, fine_tuning, image_folder, tmp_path):
    """With class weights, which PyTorch's own mean would make depend on how a batch is spread."""
    for name in ("ant", "bee"):
        for number in range(5 if name == "ant" else 7):
            (image_folder / "train" / name / f"{number}.jpg").unlink()
    fields = {
        **fine_tuning, "class_weights": "balanced", "freeze_batch_norm": True, "total_train_batch_size": 4,
        "checkpoint_every_epochs": 9,
    }  # fmt: skip
    one = {**fields, "gradient_accumulation_steps": 2}
    train(tiny_arguments(image_folder, tmp_path / "one", **one))
    run_two_ranks(tiny_arguments(image_folder, tmp_path / "two", **fields))
    one, two = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("one", "two"))
    start = load_file(tmp_path / "start" / "model.safetensors")
    assert changed(start, two) == {"fc", "layer2"}
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-4, atol=1e-6)
