"""What is written can be read by whom the umask lets read it: colleagues, web servers, containers."""

import os
import shutil
import stat

import pytest
from shared import TINY, tiny_arguments
from transformers import BitImageProcessor

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.files import replaced_folder
from resnet50_cli import main


CLASSES = ("ant", "bee", "cat")  # of `image_folder`


@pytest.fixture(params=[0o022, 0o007, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def other_modes(folder, umask):
    """The paths in a folder that have another mode than a new file, or a new folder, gets."""
    wrong = {}
    for path in [folder, *folder.rglob("*")]:
        mode, usual = stat.S_IMODE(path.stat().st_mode), (0o777 if path.is_dir() else 0o666) & ~umask
        if mode != usual:
            wrong[str(path.relative_to(folder))] = oct(mode)
    return wrong


@pytest.mark.parametrize("umask", [0o007], indirect=True, ids=oct)
def test_every_file_of_a_run_has_the_mode_that_the_umask_gives(umask, image_folder, tmp_path, train, monkeypatch):
    # Nobody listens there: what is to be published waits in the run folder.
    for name, value in {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_nobody"}.items():
        monkeypatch.setenv(name, value)
    publishing = {"push_to_hub": "true", "hub_model_id": "ann/net", "hub_strategy": "all_checkpoints"}
    averaging = {"ema_decay": 0.5, "checkpoint_every_epochs": 1, "hub_wait_minutes": 0}
    with pytest.raises(SystemExit) as left_over:
        train(tiny_arguments(image_folder, tmp_path / "run", **publishing, **averaging))
    assert left_over.value.code == 69
    written = {path.name for path in (tmp_path / "run").rglob("*.safetensors")}
    assert {"model.safetensors", "average.safetensors"} <= written
    assert list((tmp_path / "run/hub").rglob("*.safetensors"))
    assert other_modes(tmp_path / "run", umask) == {}


@pytest.fixture
def model(umask, tmp_path):
    with replaced_folder(tmp_path / "model") as folder:
        labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {name: i for i, name in enumerate(CLASSES)}}
        ResNet50ForImageClassification(ResNet50Config(**TINY, **labels)).save_pretrained(folder)
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        BitImageProcessor(**size, resample=2).save_pretrained(folder)
    return tmp_path / "model"


@pytest.mark.parametrize(
    "command",
    [
        ["import", "MODEL", "OUT"],
        ["export", "MODEL", "OUT", "--format", "transformers"],
        ["export", "MODEL", "OUT", "--format", "resnet50", "--fold_bn"],
        ["export", "MODEL", "OUT/model.pth", "--format", "pth"],
        ["export", "MODEL", "OUT/model.pt2", "--format", "pt2"],
        ["evaluate", "MODEL", "--dataset", "IMAGES", "--output", "OUT"],
        ["publish", "MODEL", "--space", "OUT"],
        ["publish", "MODEL", "--static_space", "OUT"],  # the files of ONNX
        ["prepare", "folder", "IMAGES", "--to", "OUT/images", "--pack", "--short_side", "16", "--num_proc", "1"],
    ],
    ids=lambda command: " ".join(command[:1] + command[-2:]),
)
@pytest.mark.parametrize("umask", [0o007], indirect=True, ids=oct)
def test_every_file_of_an_export_a_data_set_and_a_space_has_the_mode_that_the_umask_gives(
    command, umask, model, image_folder, tmp_path
):
    places = {"MODEL": str(model), "IMAGES": str(image_folder), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        command = [word.replace(name, place) for word in command]
    if "/" in command[2].removeprefix(str(tmp_path / "out")):
        (tmp_path / "out").mkdir()
    main(command)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert other_modes(tmp_path / "out", umask) == {}


def test_a_replaced_folder_does_not_keep_the_modes_of_the_one_before(umask, model):
    (model / "config.json").chmod(0o600)
    with replaced_folder(model) as folder:
        shutil.copytree(model, folder, dirs_exist_ok=True)
    assert other_modes(model, umask) == {}
