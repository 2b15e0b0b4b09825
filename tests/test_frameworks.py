"""The network inside other people's models, and under their quantisation."""

import pytest
import torch
import transformers
from shared import TINY, as_if_trained
from transformers import AutoModelForImageClassification, BitImageProcessor, TorchAoConfig

from modeling_resnet50 import ResNet50Backbone, ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.hub.exporting import training_checkpoint
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import load_model, load_our_model
from resnet50_recipe.errors import UserError


STAGES = ["stage1", "stage2", "stage3", "stage4"]
SMALL = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 5,
}


def backbone_config(stages):
    narrow = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64], "embedding_size": 8}
    return ResNet50Config(**narrow, out_features=stages)


def detr(kind, stages):
    def build():
        config_class = getattr(transformers, f"{kind}Config")
        config = config_class(backbone_config=backbone_config(stages), use_timm_backbone=False, **SMALL)
        return getattr(transformers, f"{kind}ForObjectDetection")(config)

    return build


def rt_detr():
    sizes = {
        "encoder_hidden_dim": 32,
        "encoder_in_channels": [16, 32, 64],
        "decoder_in_channels": [32, 32, 32],
        "num_denoising": 0,
    }
    config = transformers.RTDetrConfig(backbone_config=backbone_config(STAGES[1:]), **SMALL, **sizes)
    return transformers.RTDetrForObjectDetection(config)


def upernet():
    config = transformers.UperNetConfig(
        backbone_config=backbone_config(STAGES),
        hidden_size=16,
        auxiliary_in_channels=32,
        auxiliary_channels=16,
        num_labels=3,
    )
    return transformers.UperNetForSemanticSegmentation(config)


def maskformer():
    decoder = transformers.DetrConfig(backbone_config=backbone_config(STAGES), use_timm_backbone=False, **SMALL)
    config = transformers.MaskFormerConfig(
        backbone_config=backbone_config(STAGES), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32
    )
    return transformers.MaskFormerForInstanceSegmentation(config)


def first_output(model):
    with torch.no_grad():
        output = model.eval()(pixel_values=torch.ones(2, 3, 64, 64))
    return next(value for value in output.values() if torch.is_tensor(value) and value.is_floating_point())


@pytest.mark.parametrize(
    "build",
    [
        detr("Detr", ["stage4"]),
        detr("ConditionalDetr", ["stage4"]),
        detr("DeformableDetr", STAGES[1:]),
        rt_detr,
        upernet,
        maskformer,
    ],
    ids=["DETR", "Conditional DETR", "Deformable DETR", "RT-DETR", "UperNet", "MaskFormer"],
)
def test_detectors_and_segmenters_are_saved_and_come_back_around_it(build, tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert sum(isinstance(module, ResNet50Backbone) for module in again.modules()) == 1
    assert torch.equal(first_output(model), first_output(again))


@pytest.fixture
def quantised(tmp_path):
    """A model, and what torchao makes of it as it is opened, which is saved."""
    quantization = pytest.importorskip("torchao.quantization")
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3))).eval()
    model.save_pretrained(tmp_path / "model")
    config = TorchAoConfig(quantization.Int8WeightOnlyConfig())
    small = AutoModelForImageClassification.from_pretrained(tmp_path / "model", quantization_config=config)
    small.save_pretrained(tmp_path / "small")
    BitImageProcessor().save_pretrained(tmp_path / "small")
    return model, small


def test_torchao_quantises_it_as_it_is_opened_and_its_answers_come_back(quantised, tmp_path):
    model, small = quantised
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "small")
    pixel_values = torch.randn(4, 3, 32, 32)
    logits = model(pixel_values).logits
    assert not torch.equal(small(pixel_values).logits, logits)
    torch.testing.assert_close(small(pixel_values).logits, logits, rtol=0, atol=0.02 * logits.abs().max().item())
    assert torch.equal(again(pixel_values).logits, small(pixel_values).logits)


def test_what_is_quantised_is_no_model_to_import_export_or_average(quantised, tmp_path):
    small = str(tmp_path / "small")
    for opened in (import_model, load_our_model, training_checkpoint):
        with pytest.raises(UserError, match="is quantised, to evaluate and predict only"):
            opened(small)
    assert load_model(small)
