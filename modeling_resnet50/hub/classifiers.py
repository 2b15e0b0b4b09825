"""Image classifiers to be judged or asked, wherever they come from."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, ResNetForImageClassification

from resnet50_recipe.errors import UserError

from ..configuration_resnet50 import ResNet50Config
from ..data.class_names import imagenet_wnids, imagenet_words, names_of
from ..data.decoding import require_known_channels
from ..data.notes import say_note
from ..data.preprocessing import Preprocessing
from ..modeling_resnet50 import ResNet50ForImageClassification
from .importing import ASSUMED_PREPROCESSING, import_model, open_timm, timm_classes, timm_name, timm_preprocessing
from .model_folder import load_model
from .onnx import open_onnx


_OTHER_EXPORTS = {"openvino_model.xml": "OpenVINO", "model.pte": "ExecuTorch", "model.mlpackage": "Core ML"}


@dataclass
class Classifier:
    """
    Attributes:
        model: in evaluation mode; from `pixel_values` float32 `(batch, channels, height, width)` to an answer with
            `logits` `(batch, num_labels)`. Its `config` has `num_labels` and `problem_type`.
        label_names: of its classes.
        preprocessing: of its images.
        codes: of its classes, by which data may call them, where they have some beside their names.
    """

    model: nn.Module
    label_names: list[str]
    preprocessing: Preprocessing
    codes: list[str] | None = None

    @property
    def dtype(self) -> str | None:
        """Of the weights; None of an ONNX file, which may mix several."""
        parameter = next(self.model.parameters(), None)
        return None if parameter is None else str(parameter.dtype).removeprefix("torch.")

    @property
    def is_onnx(self) -> bool:
        """Run by ONNX Runtime, in a precision of its own."""
        return self.dtype is None

    @property
    def has_maps(self) -> bool:
        """A ResNet that gives its feature maps, which Grad-CAM needs."""
        return isinstance(self.model, ResNet50ForImageClassification | ResNetForImageClassification)


def open_classifier(
    source: str, trust_remote_code: bool = False, dtype: Literal["float32", "auto"] = "float32"
) -> Classifier:
    """
    Open a classifier as it is, without making it one of ours.

    Args:
        source: a folder of this library, of transformers or of timm, or its id on the Hub; `timm:NAME`; a file of
            weights under torchvision's names; an ONNX file that `resnet50 export` wrote, or its folder.
        trust_remote_code: run the code that comes with other models.
        dtype: of the weights: float32, or "auto", as they were saved, which timm and ONNX Runtime decide on their own.

    Raises:
        UserError: nothing there, damaged, no classifier, or one whose images are prepared in a way we cannot, or
            have other channels than we can read.
    """
    classifier = _open(source, trust_remote_code, dtype)
    require_known_channels(classifier.preprocessing.num_channels, source)
    return classifier


def _open(source: str, trust_remote_code: bool, dtype: Literal["float32", "auto"]) -> Classifier:
    path = Path(source).expanduser()
    if path.suffix == ".onnx":
        return Classifier(*open_onnx(path))
    if (path / "onnx" / "model.onnx").is_file() and not (path / "model.safetensors").is_file():
        return Classifier(*open_onnx(path / "onnx" / "model.onnx"))
    for file, runtime in _OTHER_EXPORTS.items():
        if (path / file).exists() and not (path / "model.safetensors").is_file():
            raise UserError(
                f"{source} is an export for {runtime}: here the model itself is asked, or an ONNX file of it"
            )
    name = timm_name(source)
    if name is not None:  # transformers' wrapper cannot open what timm 1.0.31 writes
        model = open_timm(name, source)
        if not model.num_classes:
            raise UserError(f"{source} has no classifier, so it has no answer to give: its features alone")
        nameless = [f"LABEL_{index}" for index in range(model.num_classes)]
        names, codes = timm_classes(model, source) or (nameless, None)
        return Classifier(TimmClassifier(model), names, timm_preprocessing(model, source), codes)
    if path.is_file():
        imported = import_model(source, dtype=dtype)
        if ASSUMED_PREPROCESSING in imported.notes:
            say_note(f"{source}: {ASSUMED_PREPROCESSING}")
        _take_float32(imported.model)
        label_names = names_of(imported.model)
        if label_names[0] == "LABEL_0" and len(label_names) == 1000:  # the file has no names; these classes are known
            label_names = imagenet_words(imagenet_wnids())
        return Classifier(imported.model, label_names, imported.preprocessing)
    model, processor = load_model(source, trust_remote_code, dtype)
    _take_float32(model)
    if model.config.problem_type == "regression":
        raise UserError(f"{source} predicts numbers (problem_type regression), and not classes")
    codes = model.config.class_codes() if isinstance(model.config, ResNet50Config) else None
    return Classifier(model.eval(), names_of(model), Preprocessing.from_processor(processor, source), codes)


def require_one_class_per_image(source: str, model: Any) -> None:
    """
    Raises:
        UserError: the model is a multi-label one.
    """
    if model.config.problem_type == "multi_label_classification":
        raise UserError(
            f"{source} is a multi-label model: it does not choose one class for an image, which is what labels are "
            "compared with here. resnet50 predict shows its scores"
        )


class TimmClassifier(nn.Module):
    """A model of timm that answers as transformers' do."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.config = SimpleNamespace(num_labels=model.num_classes, problem_type=None)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.model(pixel_values))


def _take_float32(model: PreTrainedModel) -> None:
    """Let a model take images in float32, whatever the precision of its weights."""
    if model.dtype != torch.float32:
        model.register_forward_pre_hook(_in_its_dtype, with_kwargs=True)


def _in_its_dtype(model: Any, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return inputs, {**keywords, "pixel_values": keywords["pixel_values"].to(model.dtype)}
