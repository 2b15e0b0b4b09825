"""
Models as ONNX files, laid out as transformers.js and optimum look for them.

    config.json  preprocessor_config.json
    onnx/model.onnx  onnx/model_fp16.onnx  onnx/model_quantized.onnx
"""

import copy
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError, in_one_line, needs_packages

from .. import __version__
from ..data.preprocessing import Preprocessing
from ..modeling_resnet50 import ResNet50ForImageClassification
from .exporting import save_descriptions
from .fold import fold_batch_norm
from .weights import LogitsOnly


if TYPE_CHECKING:
    import onnx
    import onnxruntime

# Held down to what onnxruntime 1.24, our lower bound, knows. The exporter and onnxruntime 1.32 go up to 27, which
# gives the same fused graph at the same speed; of 28, onnxruntime 1.32 lacks int8's DequantizeLinear.
OPSET = 23


def export_onnx(
    model: ResNet50ForImageClassification,
    processor: BitImageProcessor,
    folder: Path,
    *,
    fp32: bool = True,
    fp16: bool = False,
) -> None:
    """
    Write `onnx/model.onnx` or `onnx/model_fp16.onnx`, or both, with what is needed to use them.

    Input `pixel_values` float32 `(batch, channels, height, width)`, output `logits` float32 `(batch, num_labels)`, in
    both files; batch, height and width are free. Each file is complete in itself: weights inside, preprocessing and
    class names in its metadata.

    Args:
        model: in evaluation mode, float32.
        processor: how images are prepared.
        folder: exists.
        fp32: whether to write the first.
        fp16: whether to write the second, whose weights and arithmetic are float16.

    Raises:
        UserError: the packages for it are not installed.
    """
    with needs_packages("ONNX", "onnx"):
        import onnx
        import onnxruntime  # noqa: F401  (whoever exports wants to run it)
        import onnxscript  # noqa: F401  (the exporter asks for it, with a traceback)
    (folder / "onnx").mkdir(exist_ok=True)
    # The exporter would fold BatchNorm itself, after half of the time has gone into it; and not before rounding, where
    # small variances lose more than the products do.
    folded = fold_batch_norm(model)
    variants: dict[str, nn.Module] = {"model.onnx": LogitsOnly(folded)} if fp32 else {}
    if fp16:
        variants["model_fp16.onnx"] = _HalfLogits(copy.deepcopy(folded).half())
    for name, network in variants.items():
        example = torch.zeros(2, model.config.num_channels, 224, 224, device=model.device)
        sizes = {0: "batch", 2: "height", 3: "width"}
        proto = to_onnx(network, {"pixel_values": example}, {"pixel_values": sizes}, "logits")
        onnx.helper.set_model_props(proto, _metadata(model, processor))
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, folder / "onnx" / name)
    save_descriptions(model, processor, folder)


def open_onnx(path: Path) -> tuple[nn.Module, list[str], Preprocessing]:
    """
    A file that `export_onnx` or `quantize_onnx` wrote, to be run by ONNX Runtime on the CPU.

    Returns:
        The model, which answers as transformers' do; the names of its classes; and how its images are prepared.

    Raises:
        UserError: no such file, damaged, from elsewhere, or the packages for it are not installed.
    """
    session = open_session(path)
    if session.get_inputs()[0].name == "images":
        raise UserError(
            f"{path} takes photos of any size, one after another, and prepares them itself: give the file without "
            "_with_preprocessing beside it, which answers the same"
        )
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
    model = _OnnxModel(session, len(names), problem_type)
    model.config.confidence_threshold = json.loads(metadata.get("confidence_threshold", "null"))
    return model, [names[str(i)] for i in range(len(names))], preprocessing


class _OnnxModel(nn.Module):
    def __init__(self, session: "onnxruntime.InferenceSession", num_labels: int, problem_type: str | None):
        super().__init__()
        self.session = session
        self.config = SimpleNamespace(num_labels=num_labels, problem_type=problem_type)

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        (logits,) = self.session.run(["logits"], {"pixel_values": pixel_values.float().cpu().numpy()})
        return SimpleNamespace(logits=torch.from_numpy(logits).to(pixel_values.device))


def open_session(path: Path, threads: int | None = None) -> "onnxruntime.InferenceSession":
    """
    By ONNX Runtime on the CPU. Its threads do not spin between two calls: others prepare the next images meanwhile.

    Args:
        threads: that compute; None: one for each core.

    Raises:
        UserError: no such file, damaged, with operators that this version lacks, or there is no ONNX Runtime.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with needs_packages("ONNX", "onnx"):
        import onnxruntime
    try:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, which have no common base
        raise UserError(
            f"{path} is damaged or not an ONNX file, or asks for what ONNX Runtime {onnxruntime.__version__} lacks: "
            f"{in_one_line(error)}"
        ) from error


def add_metadata(path: Path, values: dict[str, str]) -> None:
    """Put more key–value pairs into an ONNX file's metadata."""
    import onnx

    proto = onnx.load(path)
    present = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, {**present, **values})
    onnx.save(proto, path)


def to_onnx(
    network: nn.Module, inputs: dict[str, Tensor], free_sizes: dict[str, dict[int, str]], output: str
) -> "onnx.ModelProto":
    """
    A network as an ONNX graph, of standard operators alone.

    Args:
        network: its `forward` names its arguments as `inputs` does.
        inputs: an example of each.
        free_sizes: of each input, the axes that may have any size, and what that is called.
        output: what the result is called.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=free_sizes,
            verbose=False,
        )
    finally:
        logger.setLevel(level)
    assert program is not None  # as `dynamo=True` gives one
    return program.model_proto


def _metadata(model: ResNet50ForImageClassification, processor: BitImageProcessor) -> dict[str, str]:
    problem_type, threshold = model.config.problem_type, model.config.confidence_threshold
    return {
        "producer": f"modeling-resnet50 {__version__}",
        "model_type": model.config.model_type,
        "preprocessing": json.dumps(Preprocessing.from_processor(processor, "the model").exported()),
        "id2label": json.dumps(model.config.id2label, ensure_ascii=False),
        **({} if problem_type is None else {"problem_type": problem_type}),
        **({} if threshold is None else {"confidence_threshold": json.dumps(threshold)}),
    }


class _HalfLogits(LogitsOnly):
    """Half precision within, float32 without: whoever runs the file need not know."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values.half()).logits.float()
