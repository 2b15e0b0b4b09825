"""Files from strangers: damaged or malicious ones are refused by name, and nothing in them runs."""

import json
import os
import pickle

import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.cli import main
from modeling_resnet50.errors import UserError
from modeling_resnet50.hub.importing import import_model
from modeling_resnet50.hub.model_folder import load_model
from modeling_resnet50.hub.weights import from_transformers_resnet, read_weights, to_transformers_resnet


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
    with pytest.raises(UserError, match="cannot load the model"):
        load_model(str(tmp_path))


def test_renaming_to_transformers_and_back_is_the_identity():
    state = ResNet50ForImageClassification(ResNet50Config()).state_dict()
    back = from_transformers_resnet(to_transformers_resnet(state))
    assert list(back) == list(state)
    assert all(back[name] is state[name] for name in state)
