"""Each variant of the architecture equals timm's, and config.json tells timm how to build it."""

import pytest
import timm
import torch
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.initialization import no_init_weights

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.hub.weights import to_transformers_resnet


SMALL = {"depths": [2, 1, 1, 2], "hidden_sizes": [32, 64, 96, 128], "num_labels": 7}
VARIANTS = {
    "resnet18": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
    "resnet34": {"layer_type": "basic", "depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 256, 512]},
    "resnet50": {},
    "resnet101": {"depths": [3, 4, 23, 3]},
    "resnet152": {"depths": [3, 8, 36, 3]},
    "deep stem": {**SMALL, "stem_type": "deep"},
    "ResNet-D": {**SMALL, "stem_type": "deep", "avg_down": True},
    "ResNet-D, basic": {**SMALL, "layer_type": "basic", "stem_type": "deep", "avg_down": True},
    "wide deep stem": {**SMALL, "stem_type": "deep", "embedding_size": 128},
    "blur": {**SMALL, "blur_pool": True},
    "blur, basic": {**SMALL, "layer_type": "basic", "blur_pool": True},
    "blur, dilated": {**SMALL, "blur_pool": True, "output_stride": 16},
    "output stride 16": {**SMALL, "output_stride": 16},
    "output stride 8": {**SMALL, "output_stride": 8},
    "output stride 8, basic": {**SMALL, "layer_type": "basic", "output_stride": 8},
    "output stride 8, ResNet-D": {**SMALL, "output_stride": 8, "stem_type": "deep", "avg_down": True},
    "silu": {**SMALL, "hidden_act": "silu"},
    "gelu": {**SMALL, "hidden_act": "gelu"},
    "max pooling": {**SMALL, "global_pool": "max"},
    "avgmax pooling": {**SMALL, "global_pool": "avgmax"},
    "catavgmax pooling": {**SMALL, "global_pool": "catavgmax"},
    "one channel": {**SMALL, "num_channels": 1},
    "narrow": {"depths": [1, 2, 1, 1], "hidden_sizes": [32, 64, 96, 128]},
}


def timm_twin(model: ResNet50ForImageClassification, **kwargs) -> torch.nn.Module:
    """What timm builds from our config.json, with our weights."""
    written = model.config.to_dict()
    with no_init_weights():
        twin = timm.create_model(
            written["architecture"], num_classes=written["num_classes"], **written["model_args"], **kwargs
        )
    twin.load_state_dict(model.state_dict())
    return twin


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_variant_equals_timms(fields):
    model = ResNet50ForImageClassification(ResNet50Config(**fields)).eval()
    twin = timm_twin(model).eval()
    pixel_values = torch.randn(2, model.config.num_channels, 72, 64)
    with torch.no_grad():
        ours, theirs = model(pixel_values, output_hidden_states=True), twin(pixel_values)
        torch.testing.assert_close(ours.logits, theirs, rtol=1e-5, atol=1e-5)
        features = twin.forward_features(pixel_values)
    torch.testing.assert_close(ours.hidden_states[-1], features, rtol=1e-5, atol=1e-5)


def test_named_architectures_need_no_arguments():
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        written = ResNet50Config(**VARIANTS[name]).to_dict()
        assert (written["architecture"], written["model_args"]) == (name, {})


def test_drop_path_equals_timms_in_training():
    model = ResNet50ForImageClassification(ResNet50Config(**SMALL, drop_path_rate=0.5)).train()
    twin = timm_twin(model, drop_path_rate=0.5).train()
    pixel_values = torch.randn(4, 3, 32, 32)
    outputs = []
    for network in (model, twin):
        torch.manual_seed(1)
        output = network(pixel_values)
        outputs.append(output if network is twin else output.logits)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    different = model(pixel_values).logits
    assert not torch.allclose(different, outputs[0])  # drawn anew
    model.eval()
    assert torch.equal(model(pixel_values).logits, model(pixel_values).logits)


def test_v1_stride_equals_transformers_resnet():
    """timm has no v1; transformers' own ResNet has, under the same name."""
    model = ResNet50ForImageClassification(ResNet50Config(**SMALL, downsample_in_bottleneck=True)).eval()
    native = ResNetForImageClassification(ResNetConfig(**SMALL, downsample_in_bottleneck=True)).eval()
    native.load_state_dict(to_transformers_resnet(model.state_dict()))
    pixel_values = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model(pixel_values).logits, native(pixel_values).logits, rtol=1e-5, atol=1e-5)
    v15 = ResNet50ForImageClassification(ResNet50Config(**SMALL)).eval()
    v15.load_state_dict(model.state_dict())
    assert not torch.allclose(model(pixel_values).logits, v15(pixel_values).logits, atol=1e-3)


def test_batch_norm_momentum_and_eps_are_those_configured():
    model = ResNet50ForImageClassification(ResNet50Config(**SMALL, batch_norm_momentum=0.3, batch_norm_eps=1e-3))
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.3, 1e-3)}


@pytest.mark.parametrize(
    "fields",
    [
        {"stem_type": "cifar"},
        {"downsample_in_bottleneck": True},
        {"batch_norm_eps": 1e-3},
        {"hidden_act": "quick_gelu"},
        {"batch_norm_folded": True},
        {"depths": [1, 1, 1], "hidden_sizes": [8, 16, 32]},
        {"embedding_size": 32},
    ],
)
def test_config_of_what_timm_cannot_build_does_not_claim_otherwise(fields):
    assert "architecture" not in ResNet50Config(**fields).to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_act": "rleu"}, "hidden_act 'rleu' is not among"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate must be in \[0, 1\)"),
        ({"batch_norm_momentum": 0.0}, "batch_norm_momentum must be"),
        ({"downsample_in_bottleneck": True, "blur_pool": True}, "without blur_pool"),
        ({"stem_type": "deep", "embedding_size": 7}, "even embedding_size"),
        ({"output_stride": 4}, "output_stride"),
        ({"global_pool": "sum"}, "global_pool"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(Exception, match=message):
        ResNet50Config(**fields)
