"""Checkpoints as other people's scripts and libraries leave them: the same logits, or one line that says why not."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from shared import TINY, as_if_trained
from torch import nn
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
)

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.exporting import export_transformers
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import load_model
from resnet50_recipe.errors import UserError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return as_if_trained(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], 6))


def saved(content, folder, name="model.pth"):
    torch.save(content, folder / name)
    return str(folder / name)


@torch.no_grad()
def same(ours, theirs, tolerance=0.0):
    pixel_values = torch.randn(2, 3, 48, 40)
    expected = theirs(pixel_values)
    expected = expected if isinstance(expected, torch.Tensor) else expected.logits
    return (ours(pixel_values).logits - expected).abs().max() <= tolerance


def without_classifier(network):
    return {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}


def under(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "beside",
    [
        {"best_acc1": np.float64(76.1), "epoch": np.int64(3)},
        {"acc": np.float32(0.5), "done": np.bool_(True), "rng": np.random.get_state()},
        {"args": argparse.Namespace(output=Path("/runs"), lr=np.float16(0.5))},
    ],
)
def test_numbers_of_numpy_and_paths_beside_the_weights_are_no_code(network, tmp_path, beside):
    source = saved({"state_dict": network.state_dict(), **beside}, tmp_path)
    assert same(import_model(source).model, network)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", "is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b'{"error": "not found"}', "is JSON text"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "is a file of HDF5, as Keras writes them"),
        (b"\x08\x0a\x12\x07pytorch", "is damaged, or was not written by torch.save"),
    ],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_what_is_no_file_of_weights_is_called_what_it_is(tmp_path, content, words, name):
    (tmp_path / name).write_bytes(content)
    words = words if "torch.save" not in words or name.endswith("pth") else "is damaged or not a safetensors file"
    with pytest.raises(UserError, match=words) as error:
        import_model(str(tmp_path / name))
    assert not re.search("could run|\n|add_safe_globals", str(error.value))


def test_programs_arrays_and_whole_modules_are_told_by_name(network, tmp_path):
    torch.jit.trace(network, torch.zeros(1, 3, 32, 32)).save(tmp_path / "program.pt")
    np.savez(tmp_path / "arrays.npz", **{"conv1.weight": network.conv1.weight.detach().numpy()})
    saved(network, tmp_path, "module.pth")
    for name, words in {
        "program.pt": r"is a program of TorchScript: torch\.save\(torch\.jit\.load\(FILE\)\.state_dict\(\), …\)",
        "arrays.npz": "is arrays of numpy",
        "module.pth": r"more than weights \(torchvision\.models\.resnet\.ResNet\), which could run any code",
    }.items():
        with pytest.raises(UserError, match=words) as error:
            import_model(str(tmp_path / name))
        assert not re.search("\n|add_safe_globals", str(error.value))


def test_safetensors_are_known_by_their_content_and_as_parts_by_their_list(network, tmp_path):
    state = network.state_dict()
    save_file(state, tmp_path / "model.bin")
    assert same(import_model(str(tmp_path / "model.bin")).model, network)
    weight_map = {}
    for number, names in enumerate((list(state)[:9], list(state)[9:]), start=1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: state[name] for name in names}, tmp_path / file)
        weight_map |= dict.fromkeys(names, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert same(import_model(str(tmp_path / "model.safetensors.index.json")).model, network)
    with pytest.raises(UserError, match=r"one of 2 parts: give their list, model\.safetensors\.index\.json"):
        import_model(str(tmp_path / "model-00001-of-00002.safetensors"))


def test_layers_in_a_sequence_and_nvidias_are_torchvisions(network, tmp_path):
    children = list(network.children())
    state = network.state_dict()
    nvidias = {re.sub(r"^layer(\d)", lambda m: f"layers.{int(m[1]) - 1}", name): state[name] for name in state}
    whole = {
        "children": nn.Sequential(*children).state_dict(),
        "nvidia": {"state_dict": under("module.", nvidias)},
        "lightly": {"state_dict": under("backbone.", nn.Sequential(*children[:-1]).state_dict()), "epoch": 3},
        "fastai": {"model": nn.Sequential(nn.Sequential(*children[:-2]), nn.Linear(1024, 6)).state_dict(), "opt": {}},
    }
    for name, content in whole.items():
        source = saved(content, tmp_path)
        classifier = "keep" if name in ("children", "nvidia") else "drop"
        imported = import_model(source, classifier=classifier).model
        if classifier == "keep":
            assert same(imported, network)
        else:
            body = {name: imported.state_dict()[name] for name in without_classifier(network)}
            assert all(torch.equal(value, state[name]) for name, value in body.items()), name


class Wrapped(nn.Module):
    def __init__(self, network, name, head):
        super().__init__()
        self.backbone = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
        setattr(self, name, head)
        self.name = name

    def forward(self, pixel_values):
        return getattr(self, self.name)(self.backbone(pixel_values))


@pytest.mark.parametrize(
    ("name", "head", "is_linear"),
    [
        ("classifier", nn.Linear(512, 5), True),
        ("head", nn.Linear(512, 5, bias=False), True),
        ("fc", nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 5)), True),
        ("classifier", nn.Sequential(nn.Linear(512, 16), nn.ReLU(), nn.Linear(16, 5)), False),
        ("head", nn.Sequential(nn.BatchNorm1d(512), nn.Linear(512, 5)), False),
        ("projection_head", nn.Linear(512, 128), False),
    ],
)
def test_a_linear_classifier_is_found_by_its_usual_names(network, tmp_path, name, head, is_linear):
    reference = Wrapped(network, name, head).eval()
    source = saved(reference.state_dict(), tmp_path)
    if is_linear:
        assert same(import_model(source).model, reference)
    else:
        with pytest.raises(UserError, match="has no classifier"):
            import_model(source)


def test_what_comes_after_the_network_is_left_out_and_other_convolutions_are_not(network, tmp_path):
    swav = {"projection_head.0.weight": torch.zeros(8, 512), "prototypes.weight": torch.zeros(30, 8)}
    swav["queue_at"] = torch.tensor(3)
    source = saved(under("module.", {**without_classifier(network), **swav}), tmp_path)
    for options in ({"classifier": "drop"}, {"classifier": "new", "num_labels": 3}):
        imported = import_model(source, **options)
        assert "left out: 3 tensors of what came after the network, first projection_head.0.weight" in imported.notes
        assert torch.equal(imported.model.layer4[0].conv2.weight, network.layer4[0].conv2.weight)
    clip = {"conv2.weight": torch.zeros(8, 8, 3, 3), "bn2.weight": torch.zeros(8)}  # of CLIP's deep stem
    source = saved({**without_classifier(network), **clip}, tmp_path)
    with pytest.raises(UserError, match=r"2 extra, first conv2\.weight"):
        import_model(source, classifier="drop")


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("conv1.weight", lambda value: value * float("nan"), "not finite, first conv1.weight"),
        ("bn1.running_var", lambda value: value / 0, "not finite, first bn1.running_var"),
        ("bn1.running_var", lambda value: -value, "bn1.running_var has variances below 0"),
        ("conv1.weight", lambda value: (value * 100).to(torch.int8), "conv1.weight holds int8"),
        (
            "conv1.weight",
            lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            "conv1.weight holds qint8",
        ),
        ("conv1.weight", lambda value: value.to(torch.complex64), "conv1.weight holds complex64"),
        ("conv1.weight", lambda value: value.to("meta"), "conv1.weight holds no numbers"),
        ("fc.weight", lambda value: value.to_sparse(), "fc.weight holds a sparse tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:Warning")
def test_weights_that_are_no_numbers_to_compute_with_are_refused(network, tmp_path, name, make, words):
    source = saved({**network.state_dict(), name: make(network.state_dict()[name])}, tmp_path)
    with pytest.raises(UserError, match=words):
        import_model(source)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classifier": "new", "num_labels": 0}, "needs --num_labels, the number of classes, at least 1"),
        ({"classifier": "drop", "num_labels": 3}, "--classifier drop leaves no classes"),
        (
            {"config_overrides": {"downsample_in_botleneck": True}},
            "unknown field 'downsample_in_botleneck'; did you mean 'downsample_in_bottleneck'?",
        ),
    ],
)
def test_options_without_a_meaning_are_refused(network, tmp_path, options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        import_model(saved(network.state_dict(), tmp_path), **options)


def test_a_file_says_what_it_cannot_show_and_beside_its_config_it_can(network, tmp_path):
    assumed = "assumed, as weights do not show it: relu, strides in the 3×3 convolutions, no blur pooling"
    assert any(note.startswith(assumed) for note in import_model(saved(network.state_dict(), tmp_path)).notes)
    native = as_if_trained(ResNetForImageClassification(ResNetConfig(**TINY, downsample_in_bottleneck=True)))
    native.save_pretrained(tmp_path / "v1")
    imported = import_model(str(tmp_path / "v1" / "model.safetensors"))
    assert imported.notes[0] == "recognised: transformers' own ResNet"
    assert same(imported.model, native)


@pytest.mark.parametrize("ours", [False, True])
def test_a_model_without_image_processor_is_imported_with_the_usual_one_and_not_asked(tmp_path, ours, capsys):
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)) if ours else None
    model = as_if_trained(model or ResNetForImageClassification(ResNetConfig(**TINY, num_labels=3)))
    model.save_pretrained(tmp_path)  # as Trainer does that was given no processing_class
    imported = import_model(str(tmp_path))
    assert same(imported.model, model)
    assert "ImageNet's usual one" in imported.notes[-1]
    with pytest.raises(UserError, match=r"has no preprocessor_config\.json, so it does not say how .* import"):
        load_model(str(tmp_path))


def test_what_transformers_trains_of_timm_is_imported_and_asked(tmp_path):
    config = TimmWrapperConfig.from_dict(
        {
            "architecture": "resnet18",
            "model_args": {"layers": [1, 1, 1, 1]},
            "num_classes": 3,
            "label_names": ["ant", "bee", "cat"],
            "pretrained_cfg": {**timm.get_pretrained_cfg("resnet18.a1_in1k").to_dict(), "crop_pct": 0.875},
        }
    )
    wrapper = TimmWrapperForImageClassification(config)
    as_if_trained(wrapper.timm_model)
    wrapper.save_pretrained(tmp_path)
    imported = import_model(str(tmp_path))
    assert imported.notes[0] == "recognised: timm's resnet18"
    assert same(imported.model, wrapper.timm_model)
    assert imported.model.config.id2label == {0: "ant", 1: "bee", 2: "cat"}
    steps = AutoImageProcessor.from_pretrained(tmp_path).val_transforms.transforms
    sizes = (imported.preprocessing.resize_size, imported.preprocessing.image_size)
    assert sizes == (steps[0].size, *set(steps[1].size))  # timm itself would judge it at 288
    assert open_classifier(str(tmp_path)).label_names == ["ant", "bee", "cat"]


def timm_folder(folder, name="resnet50", pretrained_cfg=None, **model_args):
    arguments = {"layers": (1, 1, 1, 1), "channels": (16, 24, 32, 40), **model_args}
    model = as_if_trained(timm.create_model(name, **arguments, num_classes=6, pretrained_cfg_overlay=pretrained_cfg))
    timm.models.save_for_hf(model, folder, model_args=arguments)
    return model


@pytest.mark.parametrize("activation", ["leaky_relu", "gelu_tanh", "mish"])
def test_timms_activations_have_transformers_names(tmp_path, activation):
    reference = timm_folder(tmp_path, act_layer=activation)
    assert same(import_model(str(tmp_path)).model, reference, tolerance=1e-5)


@pytest.mark.parametrize("options", [{"classifier": "drop"}, {"classifier": "new", "num_labels": 3}])
def test_features_of_another_network_are_refused_as_its_logits_are(tmp_path, options):
    timm_folder(tmp_path / "timms", "resnetaa50")
    with pytest.raises(UserError, match="computes something else than a ResNet of this library"):
        import_model(str(tmp_path / "timms"), **options)
    ResNetForImageClassification(ResNetConfig(**TINY, hidden_act="gelu")).save_pretrained(tmp_path / "gelu")
    with pytest.raises(UserError, match="hidden_act 'gelu': transformers' own ResNet takes that after the stem"):
        import_model(str(tmp_path / "gelu"), **options)


def test_transformers_own_resnet_has_no_other_activation_within_its_blocks(tmp_path):
    ours = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, hidden_act="silu")))
    with pytest.raises(UserError, match="transformers' own ResNet has no hidden_act='silu'"):
        export_transformers(ours, BitImageProcessor(), tmp_path)
    native = as_if_trained(ResNetForImageClassification(ResNetConfig(**TINY, hidden_act="silu")))
    activations = [type(module).__name__ for module in native.modules() if "ReLU" in type(module).__name__]
    assert activations, "transformers takes hidden_act everywhere now: export it again"


def test_timm_folders_without_answers_are_refused(tmp_path):
    timm_folder(tmp_path / "unpooled", global_pool="")
    with pytest.raises(UserError, match="no pooling before it"):
        import_model(str(tmp_path / "unpooled"))
    headless = timm.create_model("resnet18", layers=(1, 1, 1, 1), num_classes=0)
    timm.models.save_for_hf(headless, tmp_path / "headless", model_args={"layers": (1, 1, 1, 1)})
    with pytest.raises(UserError, match="has no classifier, so it has no answer"):
        open_classifier(str(tmp_path / "headless"))
    notes = import_model(str(tmp_path / "headless"), classifier="drop").notes
    assert notes[-1].startswith("compared on random images: features differ by at most")
    sizes = {"test_input_size": (3, 64, 96), "test_crop_pct": 1.0}
    timm_folder(tmp_path / "oblong", pretrained_cfg=sizes)
    with pytest.raises(UserError, match="takes images of 64 × 96 pixels: here they are square"):
        import_model(str(tmp_path / "oblong"))


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"do_resize": False}, "do_resize is off"),
        ({"do_rescale": False}, "do_rescale is off"),
        ({"resample": 1}, "its resample is 1"),
    ],
)
def test_processors_that_leave_a_step_out_are_refused(settings, missing):
    with pytest.raises(UserError, match=missing):
        Preprocessing.from_processor(BitImageProcessor(**settings), "a model")


def test_an_adapter_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"is an adapter, no whole model: model\.merge_and_unload"):
        import_model(str(tmp_path))
