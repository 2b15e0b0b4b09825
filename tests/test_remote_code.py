"""Models that bring code of their own, several in one process: each is run by its own."""

import json

import pytest
import torch
from safetensors.torch import save_file
from shared import write_image

from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.model_folder import image_processor
from modeling_resnet50.hub.spaces.gradio_space import app
from resnet50_cli import main


CONFIGURATION = """
from transformers import PreTrainedConfig

class ToyConfig(PreTrainedConfig):
    model_type = "toy"
"""

MODEL = """
import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput
from .configuration_toy import ToyConfig

class ToyForImageClassification(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def forward(self, pixel_values, **kwargs):
        return ImageClassifierOutput(logits=self.scale * torch.tensor([{logits}]).repeat(len(pixel_values), 1))
"""


@pytest.fixture
def folders(tmp_path, remote_code):
    """Two models whose configurations have the same code, and whose networks say the opposite."""
    for name, logits in (("first", "9.0, 0.0"), ("second", "0.0, 9.0")):
        folder = tmp_path / name / "best"
        image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3)).save_pretrained(folder)
        (folder / "configuration_toy.py").write_text(CONFIGURATION)
        (folder / "modeling_toy.py").write_text(MODEL.replace("{logits}", logits))
        (folder / "config.json").write_text(json.dumps({
            "model_type": "toy", "id2label": {"0": "ant", "1": "bee"}, "label2id": {"ant": 0, "bee": 1},
            "auto_map": {"AutoConfig": "configuration_toy.ToyConfig",
                         "AutoModelForImageClassification": "modeling_toy.ToyForImageClassification"},
        }))  # fmt: skip
        save_file({"scale": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})
    return [str(tmp_path / name / "best") for name in ("first", "second")]


def test_evaluate_judges_each_by_its_own_network(folders, tmp_path, capsys):
    for number in range(4):
        write_image(tmp_path / "images" / "val" / "ant" / f"{number}.png", seed=number)
    write_image(tmp_path / "images" / "val" / "bee" / "4.png", seed=4)
    arguments = ["--dataset", str(tmp_path / "images"), "--num_workers", "0", "--json", "--trust_remote_code"]
    main(["evaluate", *folders, *arguments])
    first, second = (json.loads(line)["top1"] for line in capsys.readouterr().out.splitlines())
    assert (first, second) == (0.8, pytest.approx(0.2))


@pytest.mark.parametrize("opening", [lambda name: open_classifier(name, trust_remote_code=True), app.open_classifier])
def test_demo_and_space_ask_each_networks_own_code(folders, opening):
    """`demo` opens its models by the first, a Space by the second."""
    answers = [opening(name).model(pixel_values=torch.zeros(1, 3, 32, 32)).logits.argmax().item() for name in folders]
    assert answers == [0, 1]
