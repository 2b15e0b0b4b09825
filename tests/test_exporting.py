"""Our models in other libraries' formats: the same logits, and nothing half-written."""

import json

import pytest
import torch
from shared import TINY, as_if_trained, run_python
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    BitImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    pipeline,
)

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.fold import fold_batch_norm
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main


MEAN_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NAMES = {"id2label": {0: "ant", 1: "bee", 2: "cat"}, "label2id": {"ant": 0, "bee": 1, "cat": 2}}


def save(folder, **fields):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, **NAMES, **fields)))
    save_model_and_processor(folder, model, image_processor(Preprocessing.by_ratio(32, 0.875, "bicubic", *MEAN_STD)))
    return model


def test_native_transformers_folder_needs_no_remote_code(tmp_path):
    model = save(tmp_path / "ours")
    main(["export", str(tmp_path / "ours"), str(tmp_path / "native"), "--format", "transformers"])
    program = f"""
import sys, torch
from transformers import AutoImageProcessor, AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained({str(tmp_path / "native")!r}).eval()
assert type(model).__name__ == "ResNetForImageClassification" and model.config.id2label[2] == "cat"
torch.save(model(torch.ones(2, 3, 32, 32)).logits, {str(tmp_path / "logits.pt")!r})
assert AutoImageProcessor.from_pretrained({str(tmp_path / "native")!r}).crop_size["height"] == 32
assert not any(name.startswith("modeling_resnet50") for name in sys.modules)
"""
    result = run_python(["-P", "-c", program])
    assert result.returncode == 0, result.stderr
    assert not list((tmp_path / "native").glob("*.py"))
    torch.testing.assert_close(
        torch.load(tmp_path / "logits.pt"), model(torch.ones(2, 3, 32, 32)).logits, rtol=1e-5, atol=1e-5
    )


def test_native_folder_comes_back_unchanged(tmp_path):
    model = save(tmp_path / "ours", downsample_in_bottleneck=True)
    main(["export", str(tmp_path / "ours"), str(tmp_path / "native"), "--format", "transformers"])
    again = import_model(str(tmp_path / "native")).model
    assert again.config.downsample_in_bottleneck
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("fields", [{"stem_type": "deep"}, {"blur_pool": True}, {"global_pool": "max"}])
def test_what_transformers_own_resnet_lacks_is_named(tmp_path, capsys, fields):
    save(tmp_path / "ours", **fields)
    with pytest.raises(SystemExit) as exit_:
        main(["export", str(tmp_path / "ours"), str(tmp_path / "native"), "--format", "transformers"])
    assert exit_.value.code == 2
    assert f"transformers' own ResNet has no {next(iter(fields))}=" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


@pytest.fixture
def finished_run(trained):
    """Two epochs, with a checkpoint after each."""
    return trained(checkpoint_every_epochs=1)


CHECKPOINT_KEYS = [
    "epoch", "model_state_dict", "optimizer_state_dict", "scheduler_state_dict",
    "val_acc", "val_loss", "train_acc", "train_loss",
]  # fmt: skip


@pytest.mark.parametrize("source", ["final", "best", "checkpoints/epoch-0001"])
def test_pth_holds_all_eight_entries_and_loads_without_running_code(finished_run, tmp_path, source):
    main(["export", str(finished_run / source), str(tmp_path / "model.pth"), "--format", "pth"])
    checkpoint = torch.load(tmp_path / "model.pth", weights_only=True)
    assert list(checkpoint) == CHECKPOINT_KEYS
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    row = next(row for row in rows if row["epoch"] == checkpoint["epoch"])
    if source != "best":
        assert checkpoint["epoch"] == {"final": 2, "checkpoints/epoch-0001": 1}[source]
    assert checkpoint["val_acc"] == row["val_top1"]
    assert checkpoint["train_loss"] == row["train_loss"]
    assert checkpoint["scheduler_state_dict"]["last_epoch"] == row["step"]
    assert len(checkpoint["optimizer_state_dict"]["state"]) == len(list(model_of(finished_run).parameters()))
    model_of(finished_run).load_state_dict(checkpoint["model_state_dict"])


def model_of(run):
    return AutoModelForImageClassification.from_pretrained(run / "final")


def test_optimizer_of_a_pth_goes_on_in_plain_pytorch(finished_run, tmp_path):
    main(["export", str(finished_run / "final"), str(tmp_path / "model.pth"), "--format", "pth"])
    checkpoint = torch.load(tmp_path / "model.pth", weights_only=True)
    model = model_of(finished_run)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    momentum = optimizer.state[model.fc.weight]["momentum_buffer"]
    assert momentum.shape == model.fc.weight.shape
    assert momentum.abs().sum() > 0


def test_pth_without_a_run_has_the_weights_and_nothing_else(tmp_path):
    model = save(tmp_path / "ours")
    main(["export", str(tmp_path / "ours"), str(tmp_path / "model.pth"), "--format", "pth"])
    checkpoint = torch.load(tmp_path / "model.pth", weights_only=True)
    assert [key for key in CHECKPOINT_KEYS if checkpoint[key] is not None] == ["model_state_dict"]
    again = import_model(str(tmp_path / "model.pth")).model
    assert torch.equal(again(torch.ones(1, 3, 32, 32)).logits, model(torch.ones(1, 3, 32, 32)).logits)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stem_type": "deep", "avg_down": True},
        {"layer_type": "basic"},
        {"blur_pool": True},
        {"stem_type": "cifar"},
    ],
)
def test_folding_batch_norm_changes_no_logit_by_more_than_1e_4(fields):
    torch.manual_seed(0)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, **fields)))
    folded = fold_batch_norm(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    pixel_values = torch.randn(4, 3, 48, 48)
    expected = model(pixel_values).logits
    torch.testing.assert_close(folded(pixel_values).logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(folded(pixel_values).logits, expected)  # computed another way


def test_folded_folder_opens_with_the_auto_class_and_a_pipeline(tmp_path):
    model = save(tmp_path / "ours", zero_init_residual=True)
    main(["export", str(tmp_path / "ours"), str(tmp_path / "folded"), "--fold_bn"])
    folded = AutoModelForImageClassification.from_pretrained(tmp_path / "folded").eval()
    assert folded.num_parameters() < model.num_parameters()
    pixel_values = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(folded(pixel_values).logits, model(pixel_values).logits, rtol=1e-4, atol=1e-4)
    assert pipeline("image-classification", model=str(tmp_path / "folded")).model.config.id2label[0] == "ant"
    assert isinstance(AutoImageProcessor.from_pretrained(tmp_path / "folded"), BitImageProcessor)


def test_what_is_folded_is_folded_again_as_it_is(tmp_path):
    """So that a folded folder goes into every format: they fold what they get."""
    save(tmp_path / "ours")
    main(["export", str(tmp_path / "ours"), str(tmp_path / "folded"), "--fold_bn"])
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "folded")
    again = fold_batch_norm(model)
    assert again is not model
    assert not again.training
    assert model.state_dict().keys() == again.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    again.fc.weight.data.zero_()
    assert model.fc.weight.any()  # a copy


def test_folded_model_cannot_be_had_in_formats_with_batch_norm(tmp_path, capsys):
    save(tmp_path / "ours")
    for arguments in (["--format", "transformers"], ["--format", "pth"]):
        with pytest.raises(SystemExit):
            main(["export", str(tmp_path / "ours"), str(tmp_path / "out"), "--fold_bn", *arguments])
        error = capsys.readouterr().err
        assert "batch_norm_folded=True" in error or "goes without --fold_bn" in error
        assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten_unless_told_to(tmp_path, capsys):
    save(tmp_path / "ours")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "ours"), str(tmp_path / "taken")])
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "taken" / "thesis.txt").exists()
    main(["export", str(tmp_path / "ours"), str(tmp_path / "taken"), "--overwrite"])
    assert (tmp_path / "taken" / "model.safetensors").exists()
    assert not (tmp_path / "taken" / "thesis.txt").exists()


def test_models_of_others_are_sent_to_import_first(tmp_path, capsys):
    ResNetForImageClassification(ResNetConfig(**TINY)).save_pretrained(tmp_path / "native")
    image_processor(Preprocessing.by_ratio(32, 0.875, "bilinear", *MEAN_STD)).save_pretrained(tmp_path / "native")
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "native"), str(tmp_path / "out"), "--format", "pt2"])
    assert "make it ours first: resnet50 import" in capsys.readouterr().err
