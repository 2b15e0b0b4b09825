"""Files from strangers: damaged or malicious ones are refused by name, and nothing in them runs."""

import argparse
import json
import os
import pickle
import shutil
import types

import pytest
import torch
from safetensors.torch import save_file
from shared import TINY

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import image_processor, load_model, save_model_and_processor
from modeling_resnet50.hub.weights import from_transformers_resnet, read_weights, to_transformers_resnet
from resnet50_cli import main
from resnet50_recipe.errors import UserError


class Malicious:
    """Unpickled, it would create a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("write", ["torch.save", "pickle"])
def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, write):
    content = {"model_state_dict": {"conv1.weight": torch.zeros(1)}, "extra": Malicious(tmp_path / "owned")}
    if write == "torch.save":
        torch.save(content, tmp_path / "model.pth")
    else:
        (tmp_path / "model.pth").write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"is refused: its pickle holds more than weights|is damaged"):
        read_weights(tmp_path / "model.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("beside", [Malicious("owned"), types.SimpleNamespace(lr=0.1), print])
def test_a_checkpoints_arguments_may_hold_plain_values_only(tmp_path, monkeypatch, beside):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"layer1.0.conv1.weight": torch.zeros(1)}, "args": argparse.Namespace(lr=0.1, hook=beside)}
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(UserError, match="is refused: its pickle holds more than weights"):
        read_weights(tmp_path / "model.pth")
    assert not (tmp_path / "owned").exists()


class Pickled:
    """Unpickled, what `reduced` says."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("arguments", [(("given",),), ((), [1, 2]), ((), (1, 2)), ((), "abc")])
def test_arguments_that_were_put_together_wrongly_are_damage(tmp_path, arguments):
    torch.save({"conv1.weight": torch.zeros(1), "args": Pickled(argparse.Namespace, *arguments)}, tmp_path / "m.pth")
    with pytest.raises(UserError, match="is damaged, or was not written by torch"):
        read_weights(tmp_path / "m.pth")


def test_dictionaries_that_hold_themselves_or_one_another_twice_are_read(tmp_path):
    content = {"layer1.0.conv1.weight": torch.ones(1)}
    for _ in range(200):
        content = {"x": content, "y": content}
    content["again"] = content
    torch.save(content, tmp_path / "model.pth")
    state, place = read_weights(tmp_path / "model.pth")
    assert state["layer1.0.conv1.weight"] == 1
    assert place.replace("y", "x") == ".".join(200 * "x")


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_file_is_refused_by_name(tmp_path, name, share):
    state = {"conv1.weight": torch.randn(64, 3, 7, 7)}
    path = tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"model\.(safetensors|pth) is (empty|damaged)"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "holds no weights; its keys are epoch"),
        ([1, 2], "holds a list"),
        ({"features.0.weight": torch.zeros(1)}, "holds no ResNet: its keys begin with features.0.weight"),
    ],
)
def test_files_without_a_resnet_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(UserError, match=message):
        import_model(str(tmp_path / "model.pth"))


def test_missing_extra_and_misshaped_keys_are_named(tmp_path):
    state = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)).state_dict()
    del state["layer1.0.bn2.weight"]
    state["layer1.0.se.weight"] = torch.zeros(1)
    state["layer2.0.bn1.bias"] = torch.zeros(9)
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(UserError) as error:
        import_model(str(tmp_path / "model.pth"))
    assert "1 missing, first layer1.0.bn2.weight" in str(error.value)
    assert "1 extra, first layer1.0.se.weight" in str(error.value)
    assert "first layer2.0.bn1.bias ((9,) in the file, (4,) in the model)" in str(error.value)


def saved(tmp_path):
    ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3)).save_pretrained(tmp_path)
    return tmp_path


def break_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_config_with_wrong_types_is_refused_with_the_fields_name(tmp_path, capsys):
    break_config(saved(tmp_path), embedding_size="wide")
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(tmp_path), "--dataset", "digits"])
    assert exit_.value.code == 2
    assert "embedding_size" in capsys.readouterr().err


def test_weights_that_do_not_fill_the_model_are_refused_not_replaced_by_random_ones(tmp_path):
    break_config(saved(tmp_path), depths=[2, 1])
    with pytest.raises(UserError, match=r"lack \d+ tensors, first layer1\.1\."):
        load_model(str(tmp_path))


def test_damaged_weights_of_a_folder_are_an_error_not_a_traceback(tmp_path):
    path = saved(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="is damaged or not a safetensors file"):
        load_model(str(tmp_path))


def test_renaming_to_transformers_and_back_is_the_identity():
    state = ResNet50ForImageClassification(ResNet50Config()).state_dict()
    back = from_transformers_resnet(to_transformers_resnet(state))
    assert list(back) == list(state)
    assert all(back[name] is state[name] for name in state)


def test_a_file_that_is_copied_over_a_models_changes_nothing_in_memory(tmp_path):
    for name in ("one", "another"):
        model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=3))
        save_model_and_processor(tmp_path / name, model, image_processor(Preprocessing(32, 16)))
    folder = str(tmp_path / "one")
    opened = load_model(folder)[0]
    before = {name: value.clone() for name, value in opened.state_dict().items()}
    shutil.copyfile(tmp_path / "another" / "model.safetensors", tmp_path / "one" / "model.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in opened.state_dict().items())
    assert not torch.equal(load_model(folder)[0].fc.weight, before["fc.weight"])
