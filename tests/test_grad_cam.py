"""Grad-CAM against the map that a linear classifier on pooled features has by construction."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shared import TINY, as_if_trained
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.evaluation.grad_cam import grad_cam


LABELS = torch.tensor([0, 2])


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 64, 48)


def class_activation_map(features, weight):
    """Zhou et al. 2016: the feature maps, weighted by the classifier's own weights for the class."""
    maps = torch.einsum("bchw,bc->bhw", features, weight[LABELS]).relu()[:, None]
    maps = nn.functional.interpolate(maps, (64, 48), mode="bilinear")[:, 0]
    return maps / maps.amax((1, 2), keepdim=True)


def test_behind_average_pooling_it_equals_the_class_activation_map(pixel_values):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)))
    with torch.no_grad():
        features = model(pixel_values, output_hidden_states=True).hidden_states[-1]
    expected = class_activation_map(features, model.fc.weight.detach())
    assert expected.amin() == 0  # something speaks against the class, and is left out
    torch.testing.assert_close(grad_cam(model, pixel_values, LABELS, least_side=1), expected)


def test_it_explains_transformers_own_resnet_too(pixel_values):
    config = ResNetConfig(**TINY, num_labels=3)
    model = as_if_trained(ResNetForImageClassification(config))
    with torch.no_grad():
        features = model(pixel_values, output_hidden_states=True).hidden_states[-1]
    expected = class_activation_map(features, model.classifier[1].weight.detach())
    torch.testing.assert_close(grad_cam(model, pixel_values, LABELS, least_side=1), expected)


def test_a_map_by_hand():
    """Two feature maps of 1×2, and a logit of which the gradients are known: a² of the first minus the second."""

    class Model(nn.Module):
        def forward(self, pixel_values, output_hidden_states):
            features = pixel_values[:, :2] * 1
            logit = (features[:, 0] ** 2).sum((1, 2)) - features[:, 1].sum((1, 2))
            return SimpleNamespace(logits=logit[:, None], hidden_states=(features,))

    image = torch.tensor([[[[1.0, 3.0]], [[2.0, 20.0]]]])
    # Mean gradients: (2 + 6) / 2 = 4 and -1. Weighted: 4·1 - 2 = 2 and 4·3 - 20 = -8, which is left out.
    assert grad_cam(Model(), image, torch.tensor([0])).tolist() == [[[1.0, 0.0]]]


def test_of_a_digit_the_stage_is_explained_whose_map_has_seven_places_a_side():
    """At 32 pixels the last stage of a ResNet-50 has a single place, and its map would be one shade."""
    torch.manual_seed(0)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(num_labels=10, depths=[1, 1, 1, 1]))).eval()
    pixel_values, labels = torch.randn(1, 3, 32, 32).expand(10, -1, -1, -1), torch.arange(10)
    shades = grad_cam(model, pixel_values, labels, least_side=1)
    assert (shades.amax((1, 2)) - shades.amin((1, 2))).max() < 1e-5
    shown = grad_cam(model, pixel_values, labels)
    torch.testing.assert_close(shown, grad_cam(model, pixel_values, labels, layers=[model.layer1]))
    assert max(heat.unique().numel() for heat in shown) > 49


@pytest.mark.parametrize(("least_side", "side"), [(1, 2), (3, 4), (99, 8)])
def test_of_small_images_an_earlier_stage_is_explained(least_side, side):
    """The stages' maps are 8, 4 and 2 pixels wide, and the logit is each stage's sum: a map shows which it was."""

    class Model(nn.Module):
        def forward(self, pixel_values, output_hidden_states):
            features = [nn.functional.avg_pool2d(pixel_values, factor) for factor in (1, 2, 4)]
            return SimpleNamespace(logits=sum(stage.sum((2, 3)) for stage in features), hidden_states=features)

    image = torch.rand(1, 1, 8, 8)
    expected = nn.functional.interpolate(nn.functional.avg_pool2d(image, 8 // side), (8, 8), mode="bilinear")[:, 0]
    torch.testing.assert_close(grad_cam(Model(), image, torch.tensor([0]), least_side), expected / expected.max())


def test_nothing_for_the_class_is_zero_everywhere(pixel_values):
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)))
    nn.init.constant_(model.fc.weight, -1)
    assert grad_cam(model, pixel_values, LABELS, least_side=1).abs().max() == 0


def test_the_model_is_left_as_it_was(pixel_values):
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)).train()
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        maps = grad_cam(model, pixel_values, LABELS)
    assert np.isfinite(maps.numpy()).all()
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_model_without_feature_maps_is_refused(pixel_values):
    class Model(nn.Module):
        def forward(self, pixel_values, output_hidden_states):
            return SimpleNamespace(logits=pixel_values.mean((2, 3)))

    with pytest.raises(ValueError, match="Model gives no feature maps"):
        grad_cam(Model(), pixel_values, LABELS)
