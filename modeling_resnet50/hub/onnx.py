"""
Models as ONNX files, laid out as transformers.js and optimum look for them.

    config.json  preprocessor_config.json
    onnx/model.onnx  onnx/model_fp16.onnx  onnx/model_quantized.onnx
"""

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError

from .. import __version__
from ..data.preprocessing import Preprocessing
from ..modeling_resnet50 import ResNet50ForImageClassification
from .exporting import as_resnet_config
from .fold import fold_batch_norm
from .weights import LogitsOnly


if TYPE_CHECKING:
    import onnx
    import onnxruntime

# Held down to what onnxruntime 1.24, our lower bound, knows. The exporter and onnxruntime 1.32 go up to 27, which
# gives the same fused graph at the same speed; of 28, onnxruntime 1.32 lacks int8's DequantizeLinear.
OPSET = 23


def export_onnx(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path, *, fp16: bool = False
) -> None:
    """
    Write `onnx/model.onnx` and, if wanted, `onnx/model_fp16.onnx`, with what is needed to use them.

    Input `pixel_values` float32 `(batch, channels, height, width)`, output `logits` float32 `(batch, num_labels)`, in
    both files; batch, height and width are free. Each file is complete in itself: weights inside, preprocessing and
    class names in its metadata.

    Args:
        model: in evaluation mode, float32.
        processor: how images are prepared.
        folder: exists.
        fp16: also a file whose weights and arithmetic are float16.

    Raises:
        UserError: the packages for it are not installed.
    """
    with _needs_onnx():
        import onnx
        import onnxruntime  # noqa: F401  (whoever exports wants to run it)
        import onnxscript  # noqa: F401  (the exporter asks for it, with a traceback)
    (folder / "onnx").mkdir(exist_ok=True)
    variants = {"model.onnx": LogitsOnly(model)}
    if fp16:
        # BatchNorm is folded before rounding: its small variances would lose more than the products do.
        variants["model_fp16.onnx"] = _HalfLogits(fold_batch_norm(model).half())
    for name, network in variants.items():
        proto = _to_onnx(network, model.config.num_channels)
        onnx.helper.set_model_props(proto, _metadata(model, processor))
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, folder / "onnx" / name)
    # A ResNet by its family name, which transformers.js and optimum know without our code; the graph is in the file.
    config = as_resnet_config(model.config)
    config.architectures = ["ResNetForImageClassification"]
    config.save_pretrained(folder)
    processor.save_pretrained(folder)


def quantize_onnx(folder: Path, calibration_images: Iterable[np.ndarray]) -> Path:
    """
    Write `onnx/model_quantized.onnx`: int8 weights (per channel) and activations, a quarter of the size.

    Static quantisation of ONNX Runtime in QDQ form. The first convolution and the classifier are quantised as well.

    Args:
        folder: where `export_onnx` has written.
        calibration_images: float32 `(batch, channels, height, width)`, prepared as the model takes them. A few hundred
            images of the training set show the activations' ranges.

    Raises:
        UserError: the packages for it are not installed.
    """
    with _needs_onnx():
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(calibration_images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"pixel_values": batch}

    target = folder / "onnx" / "model_quantized.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(folder / "onnx" / "model.onnx", prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Images(),
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    return target


def evaluate_onnx(path: Path, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """
    Top-1 and top-5 of an ONNX file, run by ONNX Runtime on the CPU.

    Args:
        path: the file.
        batches: `pixel_values` float32 `(batch, channels, height, width)` and `labels` int64 `(batch,)`.

    Returns:
        `{"top1": share, "top5": share}`.
    """
    from ..evaluation import TopKAccuracy  # `evaluate`, two seconds of imports, for int8 only
    from ..evaluation.metric_modules import in_memory

    session = _session(path)
    accuracy = in_memory(TopKAccuracy)
    for pixel_values, labels in batches:
        (logits,) = session.run(["logits"], {"pixel_values": pixel_values})
        accuracy.add_batch(predictions=np.argsort(-logits, axis=1, kind="stable")[:, :5], references=labels)
    return accuracy.compute()


def open_onnx(path: Path) -> tuple[nn.Module, list[str], Preprocessing]:
    """
    A file that `export_onnx` or `quantize_onnx` wrote, to be run by ONNX Runtime on the CPU.

    Returns:
        The model, which answers as transformers' do; the names of its classes; and how its images are prepared.

    Raises:
        UserError: no such file, damaged, from elsewhere, or the packages for it are not installed.
    """
    session = _session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    try:
        preprocessing = Preprocessing.from_exported(json.loads(metadata["preprocessing"]))
        names = json.loads(metadata["id2label"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path} does not say how its images are prepared and what its classes are: write it with "
            "`resnet50 export --format onnx`"
        ) from error
    problem_type = metadata.get("problem_type")
    return _OnnxModel(session, len(names), problem_type), [names[str(i)] for i in range(len(names))], preprocessing


class _OnnxModel(nn.Module):
    def __init__(self, session: "onnxruntime.InferenceSession", num_labels: int, problem_type: str | None):
        super().__init__()
        self.session = session
        self.config = SimpleNamespace(num_labels=num_labels, problem_type=problem_type)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        (logits,) = self.session.run(["logits"], {"pixel_values": pixel_values.float().cpu().numpy()})
        return SimpleNamespace(logits=torch.from_numpy(logits).to(pixel_values.device))


def _session(path: Path) -> "onnxruntime.InferenceSession":
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with _needs_onnx():
        import onnxruntime
    try:
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, which have no common base
        raise UserError(f"{path} is damaged or not an ONNX file: {' '.join(str(error).split())}") from error


def add_metadata(path: Path, values: dict[str, str]) -> None:
    """Put more key–value pairs into an ONNX file's metadata."""
    import onnx

    proto = onnx.load(path)
    present = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, {**present, **values})
    onnx.save(proto, path)


def _to_onnx(network: nn.Module, num_channels: int) -> "onnx.ModelProto":
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(
            network.eval(),
            (torch.zeros(2, num_channels, 224, 224, device=next(network.parameters()).device),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamic_shapes={"pixel_values": {0: "batch", 2: "height", 3: "width"}},
            verbose=False,
        )
    finally:
        logger.setLevel(level)
    assert program is not None  # as `dynamo=True` gives one
    return program.model_proto


def _metadata(model: ResNet50ForImageClassification, processor: BitImageProcessor) -> dict[str, str]:
    problem_type = model.config.problem_type
    return {
        "producer": f"modeling-resnet50 {__version__}",
        "model_type": model.config.model_type,
        "preprocessing": json.dumps(Preprocessing.from_processor(processor, "the model").exported()),
        "id2label": json.dumps(model.config.id2label, ensure_ascii=False),
        **({} if problem_type is None else {"problem_type": problem_type}),
    }


class _HalfLogits(LogitsOnly):
    """Half precision within, float32 without: whoever runs the file need not know."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values.half()).logits.float()


@contextmanager
def _needs_onnx() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UserError(f"ONNX needs more packages ({error.name}): pip install 'modeling-resnet50[onnx]'") from error
