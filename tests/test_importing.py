"""Models of timm, torchvision, transformers and training scripts become ours, with the same logits, or are refused."""

import pytest
import timm
import torch
import torchvision
from conftest import TINY, as_if_trained, run_python
from hub_server import HubServer
from safetensors.torch import save_file
from transformers import (
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    BitImageProcessor,
    ConvNextImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
)

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.cli import main
from modeling_resnet50.errors import UserError
from modeling_resnet50.hub.importing import import_model


SMALL = {"layers": (1, 1, 1, 1), "num_classes": 6}


def timm_folder(folder, name="resnet50", pretrained_cfg=None, **model_args):
    model = as_if_trained(timm.create_model(name, **{**SMALL, **model_args}, pretrained_cfg_overlay=pretrained_cfg))
    arguments = {key: value for key, value in {**SMALL, **model_args}.items() if key != "num_classes"}
    timm.models.save_for_hf(model, folder, model_args=arguments)
    return model


def same_logits(ours, reference, exact=True):
    pixel_values = torch.randn(2, ours.config.num_channels, 64, 64)
    with torch.no_grad():
        theirs = reference(pixel_values)
        theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.logits
        difference = (ours(pixel_values).logits - theirs).abs().max().item()
    return difference == 0 if exact else difference <= 1e-5


@pytest.mark.parametrize(
    ("name", "model_args"),
    [
        ("resnet50", {}),
        ("resnet18", {}),
        ("resnet50d", {}),
        ("resnet50", {"act_layer": "silu"}),
        ("resnet50", {"global_pool": "avgmax"}),
        ("resnet50", {"output_stride": 8}),
        ("resnet50", {"in_chans": 1}),
    ],
)
def test_timm_folder_is_recognised_and_gives_the_same_logits(tmp_path, name, model_args):
    reference = timm_folder(tmp_path, name, **model_args)
    imported = import_model(str(tmp_path))
    assert imported.notes[0] == f"recognised: timm's {name}"
    assert "compared on random images" in imported.notes[-1]
    assert same_logits(imported.model, reference)


def test_timm_blur_pooling_is_recognised(tmp_path):
    reference = timm_folder(tmp_path, "resnetblur50")
    imported = import_model(str(tmp_path))
    assert imported.model.config.blur_pool
    assert same_logits(imported.model, reference, exact=False)


def test_timms_image_preparation_comes_along(tmp_path):
    data = {"interpolation": "bicubic", "crop_pct": 0.95, "mean": (0.5, 0.5, 0.5), "input_size": (3, 160, 160)}
    timm_folder(tmp_path, pretrained_cfg={**data, "test_input_size": (3, 192, 192), "test_crop_pct": 1.0})
    processor = import_model(str(tmp_path)).processor
    assert processor.crop_size["height"] == 192  # timm evaluates at the test size where there is one
    assert processor.size["shortest_edge"] == 192
    assert int(processor.resample) == 3
    assert list(processor.image_mean) == [0.5, 0.5, 0.5]


def test_timms_imagenet_classes_have_names(tmp_path):
    timm_folder(tmp_path, num_classes=1000)
    config = import_model(str(tmp_path)).model.config
    assert config.id2label[0].startswith("tench")
    assert len(set(config.id2label.values())) == len(config.label2id) == 1000


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnext50_32x4d", r"of another shape, first layer1\.0\.conv1\.weight \(\(128, 64, 1, 1\) in the file"),
        ("seresnet50", r"extra, first layer1\.0\.se\."),
        ("resnetaa50", "computes something else"),
        ("vit_tiny_patch16_224", "is a VisionTransformer, not a ResNet"),
    ],
)
def test_other_architectures_of_timm_are_refused_with_the_reason(tmp_path, name, reason):
    extra = {} if "vit" in name else SMALL
    model = as_if_trained(timm.create_model(name, **extra))
    timm.models.save_for_hf(model, tmp_path, model_args={"layers": SMALL["layers"]} if extra else None)
    with pytest.raises(UserError, match=reason):
        import_model(str(tmp_path))


@pytest.mark.parametrize("downsample_in_bottleneck", [False, True])
def test_transformers_resnet_folder_gives_the_same_logits(tmp_path, downsample_in_bottleneck):
    labels = {"id2label": {0: "ant", 1: "bee"}, "label2id": {"ant": 0, "bee": 1}}
    config = ResNetConfig(**TINY, **labels, downsample_in_bottleneck=downsample_in_bottleneck)
    native = as_if_trained(ResNetForImageClassification(config))
    native.save_pretrained(tmp_path)
    # microsoft/resnet-50 comes with this processor: 224 / 0.875 = 256, then the centre
    ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875, resample=3).save_pretrained(tmp_path)
    imported = import_model(str(tmp_path))
    assert same_logits(imported.model, native)
    assert imported.model.config.id2label == labels["id2label"]
    image = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
    ours = imported.processor(image, return_tensors="pt").pixel_values
    theirs = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt").pixel_values
    assert torch.equal(ours, theirs)


def test_transformers_base_model_needs_a_decision_about_the_classifier(tmp_path):
    ResNetModel(ResNetConfig(**TINY)).save_pretrained(tmp_path)
    BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, resample=2).save_pretrained(
        tmp_path
    )
    with pytest.raises(UserError, match="has no classifier: give it one with --classifier new --num_labels N"):
        import_model(str(tmp_path))
    assert import_model(str(tmp_path), classifier="new", num_labels=4).model.config.num_labels == 4


def checkpoint_shapes(state):
    return {
        "state dict": state,
        "torchvision's references": {"model": state, "optimizer": {}, "epoch": 3},
        "the classic tutorial": {"epoch": 3, "model_state_dict": state, "val_acc": 0.7},
        "timm's train.py": {"arch": "resnet50", "state_dict": state},
        "DDP": {"state_dict": {f"module.{name}": value for name, value in state.items()}},
        "torch.compile": {f"_orig_mod.{name}": value for name, value in state.items()},
        "AveragedModel": {"n_averaged": torch.tensor(3), **{f"module.{n}": v for n, v in state.items()}},
    }


@pytest.mark.parametrize("shape", checkpoint_shapes({}))
def test_training_checkpoints_of_every_shape_give_torchvisions_logits(tmp_path, shape):
    reference = as_if_trained(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], 6))
    torch.save(checkpoint_shapes(reference.state_dict())[shape], tmp_path / "model.pth")
    imported = import_model(str(tmp_path / "model.pth"))
    assert same_logits(imported.model, reference)
    assert "ImageNet's usual one" in imported.notes[-1]


def test_averaged_weights_are_preferred(tmp_path):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    average = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    torch.save({"state_dict": model.state_dict(), "state_dict_ema": average.state_dict()}, tmp_path / "m.pth")
    imported = import_model(str(tmp_path / "m.pth"))
    assert torch.equal(imported.model.fc.weight, average.fc.weight)


@pytest.mark.parametrize("native_names", [False, True])
def test_bare_safetensors_are_recognised_by_their_names(tmp_path, native_names):
    native = as_if_trained(ResNetForImageClassification(ResNetConfig(**TINY, num_labels=6)))
    tv = as_if_trained(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], 6))
    reference = native if native_names else tv
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    imported = import_model(str(tmp_path / "weights.safetensors"))
    assert ("transformers" in imported.notes[0]) == native_names
    assert same_logits(imported.model, reference)


def test_what_weights_cannot_show_is_given_with_config_overrides(tmp_path):
    native = as_if_trained(ResNetForImageClassification(ResNetConfig(**TINY, downsample_in_bottleneck=True)))
    save_file(native.state_dict(), tmp_path / "v1.safetensors")
    source = str(tmp_path / "v1.safetensors")
    assert not same_logits(import_model(source).model, native, exact=False)
    assert same_logits(import_model(source, config_overrides={"downsample_in_bottleneck": True}).model, native)
    with pytest.raises(UserError, match="downsample_in_bottleneck"):
        import_model(source, config_overrides={"downsample_in_bottleneck": "yes"})


@pytest.fixture
def six_classes(tmp_path):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=6)))
    torch.save(model.state_dict(), tmp_path / "six.pth")
    return tmp_path / "six.pth", model


def test_classifier_of_another_size_is_not_silently_replaced(six_classes):
    source, model = six_classes
    with pytest.raises(UserError, match="tells 6 classes apart, not 37: --classifier new starts another one"):
        import_model(str(source), num_labels=37)
    new = import_model(str(source), classifier="new", num_labels=37)
    assert new.model.fc.out_features == 37
    assert torch.equal(new.model.conv1.weight, model.conv1.weight)
    assert any("new, random, for 37 classes (the old one's 6 classes are gone)" in note for note in new.notes)
    with pytest.raises(UserError, match="needs --num_labels"):
        import_model(str(source), classifier="new")


def test_import_command_writes_a_folder_for_the_auto_classes_and_says_what_it_did(six_classes, tmp_path, capsys):
    source, model = six_classes
    main(["import", str(source), str(tmp_path / "ours")])
    assert "recognised: weights under torchvision's names\nclassifier kept: 6 classes" in capsys.readouterr().out
    assert same_logits(AutoModelForImageClassification.from_pretrained(tmp_path / "ours").eval(), model)
    main(["import", str(source), str(tmp_path / "features"), "--classifier", "drop"])
    features = AutoModel.from_pretrained(tmp_path / "features").eval()
    pixel_values = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model.fc(features(pixel_values).pooler_output.flatten(1)), model(pixel_values).logits)
    with pytest.raises(SystemExit):
        main(["import", str(source), str(tmp_path / "ours")])
    assert "is there already" in capsys.readouterr().err


def test_imported_model_is_fine_tuned_on_other_classes_through_transformers(six_classes, tmp_path):
    source, model = six_classes
    main(["import", str(source), str(tmp_path / "ours")])
    tuned = AutoModelForImageClassification.from_pretrained(
        tmp_path / "ours", num_labels=37, ignore_mismatched_sizes=True
    )
    assert tuned.fc.out_features == tuned.config.to_dict().get("num_classes", 37) == 37
    assert torch.equal(tuned.conv1.weight, model.conv1.weight)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./nothing", "no such file or folder"),
        ("nothing.pth", "no such file or folder"),
        ("timm:resnet5o", "timm cannot open timm:resnet5o"),
        ("someone/nothing", "transformers cannot open someone/nothing"),
    ],
)
def test_a_source_that_is_not_there_is_said_to_be_missing(source, message):
    with pytest.raises(UserError, match=message):
        import_model(source)


def test_ids_on_the_hub_are_opened_by_the_library_they_were_written_with(tmp_path):
    config = ResNetConfig(depths=[1, 1], hidden_sizes=[16, 32], embedding_size=8, num_labels=6)
    references = {"ann/resnet": as_if_trained(ResNetForImageClassification(config))}
    references["ann/resnet"].save_pretrained(tmp_path / "resnet")
    BitImageProcessor(size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}, resample=3).save_pretrained(
        tmp_path / "resnet"
    )
    references["timm/resnet18.mine"] = timm_folder(tmp_path / "timm", "resnet18")
    with HubServer() as hub:
        hub.add_folder("ann/resnet", tmp_path / "resnet")
        hub.add_folder("timm/resnet18.mine", tmp_path / "timm")
        program = f"""
from modeling_resnet50.cli import main
main(["import", "ann/resnet", {str(tmp_path / "ann/resnet")!r}])
main(["import", "timm/resnet18.mine", {str(tmp_path / "timm/resnet18.mine")!r}])
main(["import", "ann/nothing", {str(tmp_path / "nothing")!r}])
"""
        result = run_python(["-c", program], **hub.environment(tmp_path / "home"))
    assert result.returncode == 2, result.stderr
    assert "error: transformers cannot open ann/nothing" in result.stderr
    assert not (tmp_path / "nothing").exists()
    assert result.stdout.count("compared on random images") == 2
    for name, reference in references.items():
        assert same_logits(AutoModelForImageClassification.from_pretrained(tmp_path / name), reference, exact=False)
    assert AutoImageProcessor.from_pretrained(tmp_path / "ann/resnet").crop_size["height"] == 64
