"""Whatever can run a classifier on this machine, behind one call: for comparisons of answers and of speed."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError, in_one_line, needs_packages

from ..data.preprocessing import Preprocessing
from ..modeling_resnet50 import ResNet50ForImageClassification
from .classifiers import open_classifier
from .exported_program import export_program
from .model_folder import image_processor
from .onnx import export_onnx, open_onnx, open_session
from .runtimes import export_executorch, export_openvino, import_openvino


@dataclass(frozen=True)
class Backend:
    """
    Attributes:
        name: of the runtime, and what it was told.
        precision: of its arithmetic.
        version: of its library.
        run: `pixel_values` float32 `(batch, channels, height, width)` to logits float32 `(batch, num_labels)`, both in
            the computer's main memory.
        bytes: of the file that it opened; of weights in memory, theirs.
        shape: `(channels, height, width)` of the images that it is made for.
    """

    name: str
    precision: str
    version: str
    run: Callable[[np.ndarray], np.ndarray]
    bytes: int
    shape: tuple[int, int, int]


def backends_of(source: str, device: torch.device, threads: int, scratch: Path) -> Iterator[Backend]:
    """
    What can run a model here. An exported file is run by its own runtime, on the CPU. Any other model is run by
    PyTorch; one of ours also exported for each runtime that is installed, unless the device is a GPU.

    Args:
        source: an exported file or its folder, or whatever `open_classifier` opens.
        threads: for each runtime that can be told.
        scratch: an empty folder for exports.

    Raises:
        UserError: nothing there, or its runtime is not installed.
    """
    path = Path(source).expanduser()
    for kind, opener in _FILES.items():
        if path.suffix == kind and path.exists():
            yield opener(path, threads)
            return
    for name in ("openvino_model.xml", "model.pte"):
        if (path / name).is_file():
            yield _FILES[Path(name).suffix](path / name, threads)
            return
    if path.suffix == ".mlpackage" or (path / "model.mlpackage").exists():
        raise UserError(
            f"{source} is for Core ML, which only Apple's systems have: it can be written here, but not run"
        )
    classifier = open_classifier(source)
    if classifier.is_onnx:
        yield _onnx(path if path.is_file() else path / "onnx" / "model.onnx", threads)
        return
    processor = image_processor(classifier.preprocessing)
    yield from _by_pytorch(classifier.model, device, _shape_of(classifier.preprocessing))
    if device.type == "cpu" and isinstance(classifier.model, ResNet50ForImageClassification):
        yield from _exported(classifier.model, processor, threads, scratch)


def _by_pytorch(model: Any, device: torch.device, shape: tuple[int, int, int]) -> Iterator[Backend]:
    """In float32, and in half precision where that is fast."""
    last: Any = {"memory_format": torch.channels_last}
    network = copy.deepcopy(model).to(device).to(**last).eval()
    size = sum(p.numel() * p.element_size() for p in network.parameters())

    def in_precision(dtype: torch.dtype | None) -> Callable[[np.ndarray], np.ndarray]:
        @torch.inference_mode()
        def run(pixel_values: np.ndarray) -> np.ndarray:
            images = torch.from_numpy(pixel_values).to(device).contiguous(**last)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                return network(pixel_values=images).logits.float().cpu().numpy()

        return run

    yield Backend("PyTorch", "float32", torch.__version__, in_precision(None), size, shape)
    if device.type != "cpu":
        yield Backend("PyTorch, autocast", "float16", torch.__version__, in_precision(torch.float16), size, shape)
        yield Backend("PyTorch, autocast", "bfloat16", torch.__version__, in_precision(torch.bfloat16), size, shape)


def _exported(
    model: ResNet50ForImageClassification, processor: BitImageProcessor, threads: int, scratch: Path
) -> Iterator[Backend]:
    for name in ("onnx", "openvino", "executorch"):
        (scratch / name).mkdir(parents=True)
    export_program(model, scratch / "model.pt2", processor.crop_size["height"])
    yield replace(
        _program(scratch / "model.pt2", threads), shape=_shape_of(Preprocessing.from_processor(processor, "the model"))
    )
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        export_onnx(model, processor, scratch / "onnx", fp16=True)
        yield _onnx(scratch / "onnx" / "onnx" / "model.onnx", threads)
        yield _onnx(scratch / "onnx" / "onnx" / "model_fp16.onnx", threads)
    if find_spec("openvino"):
        export_openvino(model, processor, scratch / "openvino")
        yield _openvino(scratch / "openvino" / "openvino_model.xml", threads)
    if find_spec("executorch"):
        export_executorch(model, processor, scratch / "executorch")
        yield _executorch(scratch / "executorch" / "model.pte", threads)


def _onnx(path: Path, threads: int) -> Backend:
    _, _, preprocessing = open_onnx(path)
    session = open_session(path, threads)
    kinds = _weights_of(path)
    precision = "int8" if "INT8" in kinds else "float16" if "FLOAT16" in kinds else "float32"

    def run(pixel_values: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"pixel_values": pixel_values})[0]

    return Backend(
        "ONNX Runtime", precision, version("onnxruntime"), run, path.stat().st_size, _shape_of(preprocessing)
    )


def _weights_of(path: Path) -> set[str]:
    """The types of the tensors of four axes."""
    import onnx

    tensors = onnx.load(path).graph.initializer
    return {onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in tensors if len(tensor.dims) == 4}


def _program(path: Path, threads: int) -> Backend:
    try:
        exported = torch.export.load(path)
        program = exported.module()
    except Exception as error:  # a damaged archive, or one of another version: it has no common base
        raise UserError(f"{path} is damaged, or no program that this PyTorch can open: {error}") from error
    if exported.graph_signature.user_inputs == ("images",):
        raise UserError(
            f"{path} takes photos of any size and prepares them itself: give a file that was exported without "
            "--with_preprocessing"
        )

    @torch.inference_mode()
    def run(pixel_values: np.ndarray) -> np.ndarray:
        return program(torch.from_numpy(pixel_values)).numpy()

    return Backend("torch.export", "float32", torch.__version__, run, path.stat().st_size, (3, 224, 224))


def _openvino(path: Path, threads: int) -> Backend:
    openvino = import_openvino()
    about = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    try:
        compiled = openvino.Core().compile_model(path, "CPU", about)
    except RuntimeError as error:
        raise UserError(f"{path} is damaged, or no model of OpenVINO: {in_one_line(error)}") from error

    def run(pixel_values: np.ndarray) -> np.ndarray:
        return compiled([pixel_values])[0]

    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Backend(
        "OpenVINO",
        {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}.get(precision, precision),
        version("openvino"),
        run,
        size,
        _shape_beside(path),
    )


def _executorch(path: Path, threads: int) -> Backend:
    """One image after another, as the file takes them; on as many threads as it likes."""
    with needs_packages("ExecuTorch", "executorch"):
        from executorch.runtime import Runtime
    try:
        program = Runtime.get().load_program(path)
        method = program.load_method("forward")
    except RuntimeError as error:
        raise UserError(f"{path} is damaged, or no program of ExecuTorch: {error}") from error

    def run(pixel_values: np.ndarray) -> np.ndarray:
        answers: list[Tensor] = [method.execute([image])[0].clone() for image in torch.from_numpy(pixel_values)]
        return torch.stack(answers).numpy()

    return Backend(
        "ExecuTorch, XNNPACK", "float32", version("executorch"), run, path.stat().st_size, _shape_beside(path)
    )


def _shape_of(preprocessing: Preprocessing) -> tuple[int, int, int]:
    return preprocessing.num_channels, preprocessing.image_size, preprocessing.image_size


def _shape_beside(path: Path) -> tuple[int, int, int]:
    """By the processor's file that was exported with it."""
    try:
        processor = BitImageProcessor.from_pretrained(path.parent)
        return _shape_of(Preprocessing.from_processor(processor, str(path.parent)))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path.parent} has no preprocessor_config.json: keep together what resnet50 export wrote"
        ) from error


_FILES: dict[str, Callable[[Path, int], Backend]] = {
    ".onnx": _onnx,
    ".pt2": _program,
    ".xml": _openvino,
    ".pte": _executorch,
}
