"""The network equals its references and keeps transformers' promises."""

import copy
import os
import pickle
import re

import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file
from shared import TINY, run_python
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification
from transformers.initialization import no_init_weights

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification, ResNet50Model


def to_transformers_resnet(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's names into those of transformers' own ResNet."""
    renamed = {}
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "fc":
            new = f"classifier.1.{parts[1]}"
        elif parts[0] in ("conv1", "bn1"):
            new = f"resnet.embedder.embedder.{'convolution' if parts[0] == 'conv1' else 'normalization'}.{parts[1]}"
        else:
            block = f"resnet.encoder.stages.{int(parts[0][5:]) - 1}.layers.{parts[1]}"
            if parts[2] == "downsample":
                new = f"{block}.shortcut.{'convolution' if parts[3] == '0' else 'normalization'}.{parts[4]}"
            else:
                kind = "convolution" if parts[2].startswith("conv") else "normalization"
                new = f"{block}.layer.{int(parts[2][-1]) - 1}.{kind}.{parts[3]}"
        renamed[new] = value
    return renamed


@pytest.fixture(scope="module")
def whole():
    """The network as it is by default."""
    torch.manual_seed(0)
    return ResNet50ForImageClassification(ResNet50Config())


@pytest.fixture(scope="module")
def initial(whole):
    return {name: value.clone() for name, value in whole.state_dict().items()}


@pytest.fixture(scope="module")
def references():
    with no_init_weights():  # they get ours
        return {
            "torchvision": torchvision.models.resnet50(),
            "timm": timm.create_model("resnet50"),
            "transformers": transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000)),
        }


def test_default_has_25557032_parameters(whole):
    assert whole.num_parameters() == 25_557_032


def test_state_dict_keys_are_torchvisions(whole, references):
    ours, theirs = whole.state_dict(), references["torchvision"].state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: v.shape for name, v in theirs.items()}


@pytest.mark.parametrize("training", [False, True])
def test_logits_loss_and_gradients_equal_torchvision_timm_and_transformers(training, whole, initial, references):
    ours = whole.train(training)
    ours.load_state_dict(initial)
    ours.zero_grad()
    pixel_values, labels = torch.randn(4, 3, 64, 64), torch.tensor([1, 999, 0, 7])
    output = ours(pixel_values, labels=labels)
    output.loss.backward()
    for name, reference in references.items():
        reference.load_state_dict(to_transformers_resnet(initial) if name == "transformers" else initial)
        reference.train(training).zero_grad()
        logits = reference(pixel_values)
        logits = logits.logits if name == "transformers" else logits
        loss = cross_entropy(logits, labels)
        loss.backward()
        torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
        torch.testing.assert_close(output.loss, loss, rtol=1e-6, atol=1e-6)
        gradients = {n: p.grad for n, p in reference.named_parameters()}
        for parameter_name, parameter in ours.named_parameters():
            key = parameter_name
            if name == "transformers":
                key = next(iter(to_transformers_resnet({parameter_name: parameter})))
            torch.testing.assert_close(parameter.grad, gradients[key], rtol=1e-4, atol=1e-6)
        buffers = dict(reference.named_buffers())
        if training and name != "transformers":
            assert all(torch.equal(value, buffers[key]) for key, value in ours.named_buffers())


def test_hidden_states_and_pooling_equal_transformers_resnet():
    widths = {"hidden_sizes": [32, 64, 96, 128], "embedding_size": 16}
    ours = ResNet50Model(ResNet50Config(**widths)).eval()
    native = transformers.ResNetModel(transformers.ResNetConfig(**widths)).eval()
    renamed = to_transformers_resnet(ours.state_dict())
    native.load_state_dict({name.removeprefix("resnet."): value for name, value in renamed.items()})
    pixel_values = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        a, b = (m(pixel_values, output_hidden_states=True) for m in (ours, native))
    assert len(a.hidden_states) == len(b.hidden_states) == 5
    torch.testing.assert_close(a.pooler_output, b.pooler_output)
    for x, y in zip(a.hidden_states, b.hidden_states):
        torch.testing.assert_close(x, y)


def test_initial_weights_are_kaiming_fan_out(whole, initial):
    weight = initial["layer3.0.conv2.weight"]  # 256 × 256 × 3 × 3
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert initial["fc.weight"].abs().max().item() == pytest.approx(2048**-0.5, rel=0.01)
    norms = [name for name, module in whole.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all((initial[f"{name}.weight"] == 1).all() for name in norms)


def test_zero_init_residual_makes_each_block_start_as_its_shortcut():
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, zero_init_residual=True))
    for stage in (model.layer1, model.layer2):
        assert (stage[0].bn3.weight == 0).all()
        assert (stage[0].bn2.weight == 1).all()
    assert (model.layer2[0].downsample[1].weight == 1).all()


def test_cifar_stem_keeps_resolution(tiny_config):
    config = ResNet50Config(**TINY, stem_type="cifar")
    maps = ResNet50Model(config)(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states
    assert [m.shape[-1] for m in maps] == [32, 32, 16]


@pytest.mark.parametrize(
    "made_of",
    [
        lambda model: model,
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        torch.nn.SyncBatchNorm.convert_sync_batchnorm,
        lambda model: torch.compile(model, backend="aot_eager"),
    ],
    ids=["as it is", "a copy", "pickled", "BatchNorm of all processes", "compiled"],
)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_changes_neither_gradients_nor_running_statistics(tiny_config, made_of, use_reentrant):
    plain = ResNet50ForImageClassification(tiny_config).train()
    checkpointed = ResNet50ForImageClassification(tiny_config).train()
    checkpointed.load_state_dict(plain.state_dict())
    enable = getattr(checkpointed, "activation_checkpointing_enable", checkpointed.gradient_checkpointing_enable)
    enable({"use_reentrant": use_reentrant})
    checkpointed = made_of(checkpointed)
    pixel_values, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    for model in (plain, checkpointed):
        model(pixel_values, labels=labels).loss.backward()
    assert checkpointed.layer1[0].gradient_checkpointing
    for a, b in zip(plain.parameters(), checkpointed.parameters()):
        torch.testing.assert_close(a.grad, b.grad)
    for a, b in zip(plain.buffers(), checkpointed.buffers()):
        torch.testing.assert_close(a, b)
    assert checkpointed.bn1.num_batches_tracked == checkpointed.layer1[0].bn1.num_batches_tracked == 1


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.filterwarnings("error:None of the inputs")
@pytest.mark.parametrize("frozen", ["conv1 bn1", "conv1 bn1 layer1", "conv1 bn1 layer1.0.conv layer2 fc"])
def test_checkpointing_behind_frozen_layers_changes_no_gradient(tiny_config, frozen, use_reentrant):
    """As who fine-tunes freezes them, or PEFT, which leaves a few parameters anywhere."""
    plain = ResNet50ForImageClassification(tiny_config).train()
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(frozen.split())))
    checkpointed = copy.deepcopy(plain)
    enable = getattr(checkpointed, "activation_checkpointing_enable", checkpointed.gradient_checkpointing_enable)
    enable({"use_reentrant": use_reentrant})
    for model in (plain, checkpointed):
        model(torch.ones(4, 3, 32, 32), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for name, parameter in plain.named_parameters():
        other = checkpointed.get_parameter(name)
        assert (other.grad is not None) is parameter.requires_grad, name
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, other.grad)


def test_layers_that_others_add_are_initialised_with_and_without_a_bias(tiny_config, tmp_path):
    class WithMore(ResNet50ForImageClassification):
        def __init__(self, config):
            super().__init__(config)
            self.projection = torch.nn.Linear(16, 4, bias=False)
            self.reduction = torch.nn.Conv2d(16, 4, 1)
            self.post_init()

    ResNet50ForImageClassification(tiny_config).save_pretrained(tmp_path)
    model = WithMore.from_pretrained(tmp_path)
    assert (model.reduction.bias == 0).all()
    assert 0 < model.projection.weight.abs().max() <= 1 / 4  # 1 / sqrt(16), as PyTorch has it


def test_loss_is_in_the_output_only_with_labels_and_leaves_the_config_alone(tiny_config):
    model = ResNet50ForImageClassification(tiny_config)
    pixel_values = torch.randn(2, 3, 32, 32)
    assert model(pixel_values).loss is None
    soft = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    expected = -(soft * model(pixel_values).logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(model(pixel_values, labels=soft).loss, expected, rtol=1e-4, atol=1e-5)
    assert model.config.problem_type is None


def test_wrong_number_of_channels_is_named(tiny_config):
    with pytest.raises(ValueError, match=r"\(batch, 3, height, width\), got \(2, 1, 32, 32\)"):
        ResNet50Model(tiny_config)(torch.zeros(2, 1, 32, 32))


def test_bytes_of_a_picture_are_no_pixel_values(tiny_config):
    with pytest.raises(ValueError, match=r"must be normalised, as the image processor gives them, not torch\.uint8"):
        ResNet50Model(tiny_config)(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("stem_type", ["imagenet", "deep", "cifar"])
def test_weights_of_16_bits_take_float32(tiny_config, stem_type):
    tiny_config.stem_type = stem_type
    model = ResNet50ForImageClassification(tiny_config).to(torch.bfloat16).eval()
    pixel_values = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(pixel_values).logits, model(pixel_values.bfloat16()).logits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": [3, 4]}, "one entry per stage"),
        ({"depths": "deep"}, "depths"),
        ({"hidden_sizes": [6, 16, 16, 16]}, "multiples of 4"),
        ({"stem_type": "stone"}, "stem_type"),
    ],
)
def test_impossible_architecture_is_refused(fields, message):
    with pytest.raises(Exception, match=message):
        ResNet50Config(**fields)


@pytest.mark.parametrize("num_labels", [2, 3, 1000])
def test_number_of_labels_survives_saving(num_labels, tmp_path):
    ResNet50Config(num_labels=num_labels).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).num_labels == num_labels


@pytest.mark.parametrize(
    "given",
    [
        {"id2label": {0: "ant", 1: "bee"}},
        {"id2label": {"0": "ant", "1": "bee"}, "label2id": {"ant": "0", "bee": "1"}},  # as transformers' example
        {"num_labels": 2, "id2label": {"0": "ant", "1": "bee"}},
        {"label2id": {"ant": "0", "bee": "1"}, "num_labels": 2, "id2label": {"0": "ant", "1": "bee"}},
    ],
    ids=lambda given: " ".join(given),
)
def test_names_of_classes_have_one_number_both_ways_however_they_are_given(given, tmp_path):
    ResNet50Config(id2label={0: "cat", 1: "dog", 2: "fox"}).save_pretrained(tmp_path)
    tuned = AutoConfig.from_pretrained(tmp_path, **given)
    tuned.save_pretrained(tmp_path / "tuned")
    later = ResNet50Config(num_labels=2)
    later.id2label = given["id2label"]
    for config in (tuned, AutoConfig.from_pretrained(tmp_path / "tuned"), ResNet50Config(**given), later):
        assert config.id2label == {0: "ant", 1: "bee"}
        assert config.label2id == {"ant": 0, "bee": 1}


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        ({}, True),
        ({"num_labels": 2}, True),
        ({"id2label": {"0": "ant", "1": "bee"}}, True),
        ({"id2label": {0: "cat", 1: "dog"}}, False),
        ({"num_labels": 3}, False),
    ],
)
def test_a_threshold_of_other_classes_is_not_taken_over(given, is_kept, tmp_path):
    """As by who fine-tunes with another trainer: `predict` would go by it."""
    threshold = {"threshold": 0.75}
    ResNet50Config(id2label={0: "ant", 1: "bee"}, confidence_threshold=threshold).save_pretrained(tmp_path)
    AutoConfig.from_pretrained(tmp_path, **given).save_pretrained(tmp_path / "tuned")
    found = AutoConfig.from_pretrained(tmp_path / "tuned").confidence_threshold
    assert found == (threshold if is_kept else None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"id2label": {"cat": 0}}, "got {'cat': 0}: that is the other way round, give it as label2id"),
        ({"label2id": {0: "cat"}}, "got {0: 'cat'}: that is the other way round, give it as id2label"),
        ({"id2label": ["cat", "dog"]}, "got ['cat', 'dog']: dict(enumerate(names)) makes one of a list"),
        ({"id2label": "cat"}, "id2label must be like {0: 'cat', 1: 'dog'}, with numbers from 0 on"),
        ({"id2label": {0: "cat", 2: "dog"}}, "id2label must number its classes from 0 to 1, and 1 is not there"),
        ({"id2label": {1: "cat", 2: "dog"}}, "from 0 to 1, and 0 is not there"),
        ({"id2label": {0: "cat", "0": "dog"}}, "from 0 to 1, and 1 is not there"),
        ({"id2label": {0: "cat", 1: None}}, "names as text; got {1: None}"),
        ({"id2label": {0.5: "cat"}}, "got {0.5: 'cat'}"),
        ({"id2label": {0: "cat"}, "label2id": {"cat": "first"}}, "got {'cat': 'first'}"),
        ({"label2id": {"cat": 0.5}}, "label2id must be like {'cat': 0, 'dog': 1}"),
        ({"label2id": ["cat"]}, "got ['cat']"),
    ],
    ids=str,
)
def test_what_is_no_map_of_classes_is_refused_in_words(given, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        ResNet50Config(**given)
    ResNet50Config(num_labels=2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        AutoConfig.from_pretrained(tmp_path, **given)
    name, value = [*given.items()][-1]
    with pytest.raises(ValueError, match=re.escape(message)):
        setattr(ResNet50Config(num_labels=2), name, value)


def test_label2id_alone_names_the_classes():
    config = ResNet50Config(label2id={"bee": "1", "ant": "0"})
    assert (config.id2label, config.num_labels) == ({0: "ant", 1: "bee"}, 2)


def test_names_that_were_saved_out_of_step_are_mended_when_they_are_read():
    config = ResNet50Config(id2label={"0": "ant", "1": "bee"}, label2id={"cat": 0, "dog": 1})
    assert config.label2id == {"ant": 0, "bee": 1}


def test_saved_model_opens_with_the_auto_classes_and_holds_torchvision_names(tiny_config, tmp_path):
    model = ResNet50ForImageClassification(tiny_config).eval()
    model.save_pretrained(tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == set(model.state_dict())
    pixel_values = torch.randn(2, 3, 32, 32)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(pixel_values).logits, model(pixel_values).logits)
    base, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    pooled = base.eval()(pixel_values).pooler_output.flatten(1)
    torch.testing.assert_close(model.fc(pooled), model(pixel_values).logits)


def test_saved_model_opens_in_a_process_that_never_imported_the_package(tiny_config, tmp_path):
    model = ResNet50ForImageClassification(tiny_config).eval()
    model.save_pretrained(tmp_path / "model")
    torch.save(model(torch.ones(1, 3, 32, 32)).logits, tmp_path / "logits.pt")
    program = f"""
import sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification
folder = {str(tmp_path / "model")!r}
model = AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True).eval()
assert torch.equal(model(torch.ones(1, 3, 32, 32)).logits, torch.load({str(tmp_path / "logits.pt")!r}))
assert type(AutoModel.from_pretrained(folder, trust_remote_code=True)).__name__ == "ResNet50Model"
assert AutoConfig.from_pretrained(folder, trust_remote_code=True).num_labels == 3
assert "modeling_resnet50" not in sys.modules
print("opened")
"""
    result = run_python(["-P", "-c", program], HF_HOME=str(tmp_path / "hf"), PYTHONPATH=os.devnull)
    assert result.stdout.strip() == "opened", result.stderr


def test_fine_tuning_on_other_classes_keeps_everything_but_the_classifier(tiny_config, tmp_path):
    model = ResNet50ForImageClassification(tiny_config)
    model.save_pretrained(tmp_path)
    tuned = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert tuned.fc.out_features == 7
    assert torch.equal(tuned.layer2[0].conv2.weight, model.layer2[0].conv2.weight)
