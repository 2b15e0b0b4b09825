"""Models of timm, torchvision, transformers and training scripts become ours, with the same logits, or are refused."""

import argparse
import re

import pytest
import timm
import timm.optim
import torch
import torchvision
from hub_server import HubServer
from safetensors.torch import save_file
from shared import TINY, as_if_trained, run_python
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
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor
from resnet50_cli import main
from resnet50_recipe.errors import UserError


SMALL = {"layers": (1, 1, 1, 1), "num_classes": 6}
NARROW = {**SMALL, "channels": (16, 24, 32, 40)}


def timm_folder(folder, name="resnet50", pretrained_cfg=None, **model_args):
    model = as_if_trained(timm.create_model(name, **{**NARROW, **model_args}, pretrained_cfg_overlay=pretrained_cfg))
    arguments = {key: value for key, value in {**NARROW, **model_args}.items() if key != "num_classes"}
    timm.models.save_for_hf(model, folder, model_args=arguments)
    return model


def same_logits(ours, reference, exact=True):
    pixel_values = torch.randn(2, ours.config.num_channels, 48, 40)
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
    preprocessing = import_model(str(tmp_path)).preprocessing  # timm evaluates at the test size where there is one
    assert (preprocessing.resize_size, preprocessing.image_size, preprocessing.interpolation) == (192, 192, "bicubic")
    assert preprocessing.image_mean == (0.5, 0.5, 0.5)


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
    ours = image_processor(imported.preprocessing)(image, return_tensors="pt").pixel_values
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


def under(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def checkpoint_shapes(state):
    """What training scripts and wrappers make of a state dict."""
    return {
        "": state,
        "model": {"model": state, "optimizer": {}, "epoch": 3},
        "model_state_dict": {"epoch": 3, "model_state_dict": state, "val_acc": 0.7},
        "state_dict": {"arch": "resnet50", "state_dict": state},
        "state_dict.module": {"state_dict": under("module.", state), "best_acc1": torch.tensor(76.1)},
        "torch.compile": under("_orig_mod.", state),
        "module": {"n_averaged": torch.tensor(3), **under("module.", state)},  # torch's AveragedModel
        "DDP of a compiled model": under("module._orig_mod.", state),
        "a compiled DDP": under("_orig_mod.module.", state),
        "a compiled layer": {name.replace("layer1.", "layer1._orig_mod."): value for name, value in state.items()},
        "module.module": under("module.module.", state),
        "state_dict.model": {  # Lightning
            "state_dict": under("model.", state),
            "hyper_parameters": {"lr": 0.1},
            "optimizer_states": [{"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": []}],
        },
        "state_dict.net": {"state_dict": under("net.", state)},
        "Lightning of a compiled model": {"state_dict": under("model._orig_mod.", state)},
        "backbone": under("backbone.", state),
        "state_dict.backbone": {  # mmpretrain: the classifier beside the backbone
            "meta": {"epoch": 3},
            "state_dict": {f"{'head' if name[:3] == 'fc.' else 'backbone'}.{name}": state[name] for name in state},
        },
        "1": under("1.", state),  # nn.Sequential, behind a layer that normalises
        "DeepSpeed": {"module": state, "lr_scheduler": None},
        "net": {"net": state, "acc": 93.1},
        "teacher": {"teacher": under("backbone.", state), "student": None},
        "state.model.module": {"state": {"model": under("module.", state)}},
    }


@pytest.fixture(scope="module")
def torchvisions():
    return as_if_trained(torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], 6))


@pytest.mark.parametrize("shape", checkpoint_shapes({}))
def test_training_checkpoints_of_every_shape_give_torchvisions_logits(tmp_path, torchvisions, shape):
    reference = torchvisions
    torch.save(checkpoint_shapes(reference.state_dict())[shape], tmp_path / "model.pth")
    imported = import_model(str(tmp_path / "model.pth"))
    assert same_logits(imported.model, reference)
    assert "ImageNet's usual one" in imported.notes[-1]
    if re.fullmatch(r"[a-z0-9_.]+", shape) and shape not in ("torch.compile", "teacher"):
        assert imported.notes[0].endswith(f"names, in {shape}")


def test_wrapped_weights_under_transformers_names_give_the_same_logits(tmp_path):
    native = as_if_trained(ResNetForImageClassification(ResNetConfig(**TINY, num_labels=6)))
    save_file(under("module.model.", native.state_dict()), tmp_path / "model.safetensors")
    assert same_logits(import_model(str(tmp_path / "model.safetensors")).model, native)


def test_checkpoints_of_timms_train_py_are_read_with_the_arguments_in_them(tmp_path):
    model = as_if_trained(timm.create_model("resnet50", **NARROW))
    average = timm.utils.ModelEmaV3(as_if_trained(timm.create_model("resnet50", **NARROW)))
    arguments = argparse.Namespace(model="resnet50", mean=(0.5, 0.5, 0.5), model_kwargs={}, device="cuda:0", lr=None)
    optimizer = timm.optim.create_optimizer_v2(model, "sgd", lr=0.1)
    optimizer.step()
    saver = timm.utils.CheckpointSaver(
        model,
        optimizer,
        args=arguments,
        model_ema=average,
        amp_scaler=timm.utils.NativeScaler(),
        checkpoint_dir=str(tmp_path),
    )
    saver.save_checkpoint(0, metric=76.1)
    for name in ("last.pth.tar", "model_best.pth.tar", "checkpoint-0.pth.tar"):
        imported = import_model(str(tmp_path / name))
        assert same_logits(imported.model, average.module)
        assert imported.notes[0].endswith("in state_dict_ema")
    assert same_logits(import_model(str(tmp_path / "last.pth.tar"), weights="state_dict").model, model)


def test_checkpoints_of_torchvisions_references_are_read_with_the_arguments_in_them(tmp_path):
    model = as_if_trained(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], 6))
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    average.module.fc.bias.data += 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=595)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers=[warmup, cosine], milestones=[5])
    optimizer.step()
    scheduler.step()
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "epoch": 3,
        "args": argparse.Namespace(model="resnet50", data_path="/data", norm_weight_decay=0.0, gpu=0, weights=None),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
    }
    torch.save(checkpoint, tmp_path / "model_3.pth")
    assert same_logits(import_model(str(tmp_path / "model_3.pth")).model, model)
    torch.save({**checkpoint, "model_ema": average.state_dict()}, tmp_path / "model_4.pth")
    assert same_logits(import_model(str(tmp_path / "model_4.pth")).model, average.module)


def test_averaged_weights_are_preferred(tmp_path):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    average = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    torch.save({"state_dict": model.state_dict(), "state_dict_ema": average.state_dict()}, tmp_path / "m.pth")
    imported = import_model(str(tmp_path / "m.pth"))
    assert torch.equal(imported.model.fc.weight, average.fc.weight)


def test_of_lightnings_averaging_the_average_is_read(tmp_path):
    """Its callbacks move the weights that are trained to `current_model_state`."""
    average = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    trained = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    content = {
        "state_dict": under("model.", average.state_dict()),
        "current_model_state": under("model.", trained.state_dict()),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    }
    torch.save(content, tmp_path / "last.ckpt")
    assert torch.equal(import_model(str(tmp_path / "last.ckpt")).model.fc.weight, average.fc.weight)
    chosen = import_model(str(tmp_path / "last.ckpt"), weights="current_model_state")
    assert torch.equal(chosen.model.fc.weight, trained.fc.weight)


@pytest.fixture
def student_and_teacher():
    return [as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY))) for _ in range(2)]


@pytest.mark.parametrize(
    ("places", "choices"),
    [
        (("student.module.backbone.", "teacher.backbone."), ("student", "teacher")),  # DINO
        (("state_dict.module.encoder_q.", "state_dict.module.encoder_k."), ("encoder_q", "encoder_k")),  # MoCo
        (("", "momentum."), ("", "momentum")),
        (("ema.online_model.", "ema.ema_model."), ("online_model", "ema.ema_model")),
    ],
)
def test_a_file_with_several_networks_asks_which(tmp_path, capsys, student_and_teacher, places, choices):
    content = {}
    for prefix, model in zip(places, student_and_teacher):
        for name, value in under(prefix, model.state_dict()).items():
            outer, _, inner = name.partition(".") if prefix.startswith(("student", "teacher")) else ("", "", name)
            (content.setdefault(outer, {}) if outer else content)[inner] = value
    torch.save(content, tmp_path / "both.pth")
    listed = ", ".join(place.rstrip(".") or "''" for place in places)
    with pytest.raises(UserError, match=re.escape(f"holds 2 networks, under {listed}: choose one by")):
        import_model(str(tmp_path / "both.pth"))
    for choice, model in zip(choices, student_and_teacher):
        main(["import", str(tmp_path / "both.pth"), str(tmp_path / f"of {choice}"), "--weights", choice])
        imported = AutoModelForImageClassification.from_pretrained(tmp_path / f"of {choice}").eval()
        assert same_logits(imported, model)
    with pytest.raises(UserError, match="holds 2 networks"):
        import_model(str(tmp_path / "both.pth"), weights="nobody")
    with pytest.raises(UserError, match="is not a file, whose networks --weights could choose from"):
        import_model(str(tmp_path / "of "), weights="teacher")


def test_of_a_network_with_a_projection_head_the_features_are_imported(tmp_path):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY)))
    head = {"fc.0.weight": torch.zeros(16, 16), "fc.2.weight": torch.zeros(4, 16)}
    features = {name: value for name, value in model.state_dict().items() if not name.startswith("fc.")}
    torch.save({"state_dict": under("module.encoder.", {**features, **head})}, tmp_path / "simsiam.pth")
    with pytest.raises(UserError, match="has no classifier: give it one"):
        import_model(str(tmp_path / "simsiam.pth"))
    imported = import_model(str(tmp_path / "simsiam.pth"), classifier="drop").model
    pixel_values = torch.randn(1, 3, 32, 32)
    assert torch.equal(model.fc(imported(pixel_values).pooler_output.flatten(1)), model(pixel_values).logits)


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
    assert any("new, random, for 37 classes (the old one, of 6 classes, is gone)" in note for note in new.notes)
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


def test_the_folder_of_a_run_is_no_model_and_names_those_in_it(tmp_path):
    for name in ("best", "final"):
        (tmp_path / name).mkdir()
    (tmp_path / "best" / "config.json").write_text("{}")
    with pytest.raises(
        UserError, match=f"without config.json; a run's models are {re.escape(str(tmp_path / 'best'))}$"
    ):
        import_model(str(tmp_path))
    (tmp_path / "best" / "config.json").unlink()
    with pytest.raises(UserError, match="; give the weights' file itself"):
        import_model(str(tmp_path))


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
from resnet50_cli import main
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
