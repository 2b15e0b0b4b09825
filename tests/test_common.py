"""What transformers asks of every model in its common tests, as far as it concerns a vision backbone."""

import copy
import json

import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from shared import TINY, as_if_trained
from torch import nn
from transformers import AutoConfig

from modeling_resnet50 import (
    ResNet50Backbone,
    ResNet50Config,
    ResNet50ForImageClassification,
    ResNet50Model,
)


CLASSES = [ResNet50Model, ResNet50ForImageClassification, ResNet50Backbone]
every_class = pytest.mark.parametrize("model_class", CLASSES, ids=lambda c: c.__name__)


@pytest.fixture
def config():
    return ResNet50Config(**TINY, num_labels=3)


@pytest.fixture
def pixel_values():
    return torch.randn(4, 3, 32, 32)


def tensors(output) -> list[torch.Tensor]:
    """All tensors of an output, in order."""
    flat = []
    for value in output.values() if hasattr(output, "values") else output:
        flat += [value] if isinstance(value, torch.Tensor) else tensors(value)
    return flat


@every_class
def test_saving_and_loading_changes_nothing(model_class, config, pixel_values, tmp_path):
    model = as_if_trained(model_class(config))
    model.save_pretrained(tmp_path)
    again = model_class.from_pretrained(tmp_path).eval()
    assert list(again.state_dict()) == list(model.state_dict())
    assert all(torch.equal(again.state_dict()[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(tensors(model(pixel_values)), tensors(again(pixel_values))))
    assert again.config.to_diff_dict() == model.config.to_diff_dict()


@every_class
def test_evaluation_is_deterministic(model_class, config, pixel_values):
    model = model_class(config).eval()
    assert all(torch.equal(a, b) for a, b in zip(tensors(model(pixel_values)), tensors(model(pixel_values))))


@every_class
def test_an_image_gets_the_same_answer_alone_as_in_a_batch(model_class, config, pixel_values):
    model = as_if_trained(model_class(config))
    whole = tensors(model(pixel_values))
    for index in range(len(pixel_values)):
        alone = tensors(model(pixel_values[index : index + 1]))
        for one, many in zip(alone, whole):
            torch.testing.assert_close(one[0], many[index], rtol=1e-5, atol=1e-5)


@every_class
def test_tuple_and_dictionary_hold_the_same(model_class, config, pixel_values):
    model = model_class(config).eval()
    as_dict = model(pixel_values, output_hidden_states=True)
    as_tuple = model(pixel_values, output_hidden_states=True, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert all(torch.equal(a, b) for a, b in zip(tensors(as_dict), tensors(as_tuple), strict=True))


@every_class
def test_hidden_states_come_on_request_by_argument_or_configuration(model_class, config, pixel_values):
    assert model_class(config)(pixel_values).get("hidden_states") is None
    by_argument = model_class(config)(pixel_values, output_hidden_states=True).hidden_states
    wordy = copy.deepcopy(config)
    wordy.output_hidden_states = True
    by_configuration = model_class(wordy)(pixel_values).hidden_states
    for states in (by_argument, by_configuration):
        assert [tuple(state.shape) for state in states] == [(4, 8, 8, 8), (4, 8, 8, 8), (4, 16, 4, 4)]


@every_class
def test_every_parameter_learns(model_class, config, pixel_values):
    model = model_class(config).train()
    output = model(pixel_values)
    tensors(output)[0].square().mean().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_gradients_reach_hidden_states(config, pixel_values):
    output = ResNet50ForImageClassification(config)(pixel_values, output_hidden_states=True)
    output.hidden_states[0].retain_grad()
    output.logits.sum().backward()
    assert output.hidden_states[0].grad.abs().sum() > 0


@every_class
def test_gradient_checkpointing_is_switched_on_and_off(model_class, config):
    model = model_class(config)
    assert model.supports_gradient_checkpointing
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    disable = getattr(model, "activation_checkpointing_disable", model.gradient_checkpointing_disable)
    enable()
    assert model.is_gradient_checkpointing
    assert all(block.gradient_checkpointing for stage in (model.layer1, model.layer2) for block in stage)
    disable()
    assert not model.is_gradient_checkpointing


def test_gradient_checkpointing_of_every_second_block():
    model = ResNet50Model(ResNet50Config(**{**TINY, "depths": [2, 3]}))
    model._set_gradient_checkpointing(True, every_n_layers=2)  # new in transformers 5.23
    blocks = [*model.layer1, *model.layer2]
    assert [block.gradient_checkpointing for block in blocks] == [True, False, True, False, True]


@every_class
def test_all_tensors_are_parameters_or_saved_buffers(model_class, config):
    """What is neither is lost when a model is built without memory and filled from a file."""
    model = model_class(ResNet50Config(**TINY, blur_pool=True, stem_type="deep", avg_down=True, drop_path_rate=0.1))
    for module in model.modules():
        assert not any(isinstance(value, torch.Tensor) for value in vars(module).values())
        assert not module._non_persistent_buffers_set


@every_class
def test_every_weight_missing_from_a_file_is_initialised(model_class, config, tmp_path):
    """An empty checkpoint on the meta device gives what a fresh model has: no memory left as it was found."""
    model_class(config).save_pretrained(tmp_path)
    save_file({"nothing": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = model_class.from_pretrained(tmp_path)
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
            assert (value == 1).all(), name
        elif name.endswith(("running_mean", "num_batches_tracked")) or ("bn" in name and name.endswith("bias")):
            assert (value == 0).all(), name
        else:
            assert value.isfinite().all(), name
            assert 0.001 < value.float().std() < 2 or value.numel() < 20, name


def test_a_classifier_of_another_size_is_initialised_and_the_rest_is_kept(config, tmp_path):
    model = as_if_trained(ResNet50ForImageClassification(config))
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size"):
        ResNet50ForImageClassification.from_pretrained(tmp_path, num_labels=9)
    tuned, info = ResNet50ForImageClassification.from_pretrained(
        tmp_path, num_labels=9, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert {key[0] for key in info["mismatched_keys"]} == {"fc.weight", "fc.bias"}
    bound = 16**-0.5
    assert tuned.fc.weight.abs().max() <= bound
    assert tuned.fc.weight.std() > bound / 4
    for name, value in model.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(tuned.state_dict()[name], value)


def test_keys_missing_and_unexpected_are_reported(config, tmp_path):
    ResNet50Model(config).save_pretrained(tmp_path)
    _, info = ResNet50ForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["missing_keys"]) == {"fc.weight", "fc.bias"}
    ResNet50ForImageClassification(config).save_pretrained(tmp_path)
    _, info = ResNet50Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]  # the classifier's weights are expected to be there


@every_class
def test_a_model_without_memory_has_the_same_shapes(model_class, config):
    with init_empty_weights():
        empty = model_class(config)
    full = model_class(config)
    assert {n: v.shape for n, v in empty.state_dict().items()} == {n: v.shape for n, v in full.state_dict().items()}


@every_class
def test_main_input_is_pixel_values(model_class):
    assert model_class.main_input_name == "pixel_values"
    assert model_class.config_class is ResNet50Config


def test_configuration_survives_json_and_keeps_every_field(tmp_path):
    changed = {
        "num_channels": 1, "embedding_size": 32, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "basic",
        "stem_type": "deep", "avg_down": True, "blur_pool": True, "output_stride": 16, "hidden_act": "gelu",
        "global_pool": "max", "drop_path_rate": 0.2, "batch_norm_momentum": 0.2, "batch_norm_eps": 1e-3,
        "zero_init_residual": True, "num_labels": 2, "out_features": ["stem", "stage2"],
    }  # fmt: skip
    ResNet50Config(**changed).save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert {name: getattr(again, name) for name in changed} == changed
    json.loads(ResNet50Config().to_json_string())
    assert ResNet50Config().num_labels == 1000


def test_names_of_classes_set_their_number():
    config = ResNet50Config(id2label={0: "ant", 1: "bee"}, label2id={"ant": 0, "bee": 1})
    assert config.num_labels == 2
    assert ResNet50ForImageClassification(config).fc.out_features == 2
    config.num_labels = 5
    assert len(config.id2label) == 5


def test_backbone_chooses_stages_by_name_or_number(config, pixel_values):
    for asked in ({"out_features": ["stem", "stage2"]}, {"out_indices": [0, 2]}, {"out_indices": (0, -1)}):
        backbone = ResNet50Backbone(ResNet50Config(**TINY, **asked)).eval()
        assert backbone.out_features == ["stem", "stage2"]
        assert backbone.channels == [8, 16]
        assert [m.shape[1] for m in backbone(pixel_values).feature_maps] == backbone.channels
    with pytest.raises(ValueError, match="stage9"):
        ResNet50Config(**TINY, out_features=["stage9"])


@pytest.mark.parametrize("training", [False, True])
def test_the_input_is_left_as_it_was(config, pixel_values, training):
    before = pixel_values.clone()
    model = ResNet50ForImageClassification(config).train(training)
    model(pixel_values)
    assert torch.equal(pixel_values, before)


def test_deep_copy_and_pickle_work(config, pixel_values, tmp_path):
    model = as_if_trained(ResNet50ForImageClassification(config))
    torch.save(model, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=False)
    for twin in (copy.deepcopy(model), whole):
        assert isinstance(twin, nn.Module)
        assert torch.equal(twin(pixel_values).logits, model(pixel_values).logits)
