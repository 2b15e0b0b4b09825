"""
Models in the formats of other runtimes. Each folder also has config.json and preprocessor_config.json.

    openvino     openvino_model.xml, .bin     OpenVINO: processors of Intel, and others
    executorch   model.pte                    ExecuTorch with XNNPACK: phones, small boards
    coreml       model.mlpackage              Core ML: Apple's devices; written anywhere, run there

BatchNorm is folded first: each would fold it itself, after up to half of the time has gone into it.
"""

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from transformers import BitImageProcessor

from resnet50_recipe.errors import needs_packages

from ..data.class_names import names_of
from ..modeling_resnet50 import ResNet50ForImageClassification
from .exported_program import trace
from .exporting import save_descriptions
from .fold import fold_batch_norm
from .weights import LogitsOnly


def export_openvino(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, *, fp16: bool = False
) -> None:
    """
    Write OpenVINO's IR under the names that optimum-intel gives it.

    Input `pixel_values` float32 `(batch, channels, height, width)`, sizes as `trace` has them; output `logits`.

    Args:
        model: in evaluation mode, float32.
        fp16: weights in half precision; otherwise they stay float32, which `openvino.save_model` would halve unasked.
            What it computes in is up to whoever opens the file: on a processor with instructions for bfloat16 that
            is bfloat16, unless INFERENCE_PRECISION_HINT says f32.

    Raises:
        UserError: OpenVINO is not installed.
    """
    openvino = import_openvino()
    converted = openvino.convert_model(trace(fold_batch_norm(model), processor.crop_size["height"]))
    converted.outputs[0].get_tensor().set_names({"logits"})
    # Where its own model API looks for them.
    labels = " ".join(name.replace(" ", "_") for name in names_of(model))
    converted.set_rt_info(labels, ["model_info", "labels"])
    openvino.save_model(converted, folder / "openvino_model.xml", compress_to_fp16=fp16)
    save_descriptions(model, processor, folder)


def export_executorch(model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path) -> None:
    """
    Write `model.pte`: float32, by XNNPACK, for one image of the processor's size at a time.

    Its method `forward` takes `(channels, height, width)` and gives logits `(num_labels,)`. There is no batch axis on
    purpose: of four axes, ExecuTorch takes channels-last memory for the exported order, and answers something else
    without a word; of three it refuses what is not contiguous.

    Args:
        model: in evaluation mode, float32.

    Raises:
        UserError: ExecuTorch is not installed.
    """
    with _quiet(), needs_packages("ExecuTorch", "executorch"):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
    size = processor.crop_size["height"]
    example = torch.zeros(model.config.num_channels, size, size)
    program = torch.export.export(_OneImage(fold_batch_norm(model)).eval(), (example,))
    with _quiet():
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / "model.pte").write_bytes(lowered.buffer)
    save_descriptions(model, processor, folder)


def export_coreml(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, *, fp16: bool = False
) -> None:
    """
    Write `model.mlpackage`, an ML program for iOS 16, macOS 13 and later: one image of the processor's size at a time.

    Input `pixel_values` `(1, channels, height, width)`, output `logits`. Names of the classes and the preprocessing
    are in its metadata. Only Apple's systems run it.

    Args:
        model: in evaluation mode, float32.
        fp16: weights and arithmetic in half precision, which Apple's Neural Engine asks for.

    Raises:
        UserError: coremltools is not installed.
    """
    with _quiet(), needs_packages("Core ML", "coreml"):
        import coremltools
    size = processor.crop_size["height"]
    example = torch.zeros(1, model.config.num_channels, size, size)
    program = torch.export.export(LogitsOnly(fold_batch_norm(model)).eval(), (example,)).run_decompositions({})
    with _quiet():
        converted = coremltools.convert(
            program,
            outputs=[coremltools.TensorType(name="logits")],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT16 if fp16 else coremltools.precision.FLOAT32,
        )
    converted.user_defined_metadata["id2label"] = json.dumps(model.config.id2label, ensure_ascii=False)
    converted.user_defined_metadata["preprocessing"] = processor.to_json_string()
    converted.save(str(folder / "model.mlpackage"))
    save_descriptions(model, processor, folder)


def import_openvino() -> ModuleType:
    """
    OpenVINO without its telemetry, which tells Google Analytics of each import and each conversion, unasked: a dozen
    messages, each by a process that is forked from this one.

    Raises:
        UserError: OpenVINO is not installed.
    """
    telemetry = "openvino_telemetry"
    there = telemetry in sys.modules  # by who wants it
    if not there:
        sys.modules[telemetry] = None  # type: ignore[assignment]  # as if it was not installed, which OpenVINO allows for
    try:
        with needs_packages("OpenVINO", "openvino"):
            import openvino
    finally:
        if not there:
            del sys.modules[telemetry]
    return openvino


class _OneImage(nn.Module):
    """From `(channels, height, width)` to `(num_labels,)`."""

    def __init__(self, model: ResNet50ForImageClassification):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values[None]).logits[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without remarks on versions that were tested, deprecations, and libraries that Apple's systems have."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
