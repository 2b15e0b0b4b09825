"""The README's lines run, as they stand."""

import re

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from shared import PROJECT, as_if_trained

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor


README = (PROJECT / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    """First cell and code of each row of the table under a heading, where the last cell is lines of code."""
    section = README.split(heading)[1].split("\n#")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    lines = {row[0]: re.findall(r"`([^`]+)`(?:<br>|$)", row[-1]) for row in cells}
    return {name: "\n".join(code) for name, code in lines.items() if len(code) == 3}


OPEN_IT_WITH = rows("## Open it with …")
EXPORTS = rows("### Export")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme") / "best"
    names = [str(digit) for digit in range(10)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**labels)))
    processor = image_processor(
        Preprocessing.by_ratio(64, 1.0, "bilinear", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    save_model_and_processor(folder, model, processor)
    return folder


@pytest.fixture
def names():
    """What the lines take for granted."""
    image = Image.new("RGB", (80, 64), "red")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    return {
        "image": image,
        "pixel_values": torch.randn(2, 3, 64, 64),
        "data": datasets.Dataset.from_dict({"image": [image], "label": [3]}, features=features),
        "label2id": {str(digit): digit for digit in range(10)},
    }


def test_the_tables_are_found():
    assert len(OPEN_IT_WITH) == 10
    assert len(EXPORTS) == 7


@pytest.mark.parametrize("library", OPEN_IT_WITH)
def test_three_lines_open_the_folder(library, model_folder, names):
    exec(OPEN_IT_WITH[library].replace("runs/digits/best", str(model_folder)), names)


def test_the_lines_that_make_a_detector_give_it_the_weights_and_leave_three_stages_to_learn(model_folder):
    code = README.split("### Under other trainers")[1].split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(code.replace("runs/digits/best", str(model_folder)), names)
    inner = names["detector"].model.backbone.model
    saved = load_file(model_folder / "model.safetensors")
    for name, value in inner.state_dict().items():
        assert torch.equal(value, saved[name]), name
    learning = {name.split(".")[0] for name, parameter in inner.named_parameters() if parameter.requires_grad}
    assert learning == {"layer2", "layer3", "layer4"}


@pytest.mark.parametrize("kind", EXPORTS)
def test_three_lines_open_the_export(kind, exported, names):
    name = re.match(r"`(\w+)`", kind)[1]
    exec(EXPORTS[kind].replace('"OUT', f'"{exported(name)}'), names)


def test_every_file_the_readme_links_to_is_there():
    for target in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (PROJECT / target).exists(), target


def test_every_recipe_is_in_the_readme():
    for recipe in (PROJECT / "recipes").glob("*.yaml"):
        assert f"recipes/{recipe.name}" in README
