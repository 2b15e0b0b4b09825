"""ONNX files with weights and activations of 8 bits, and layers left in float where that costs too much."""

import copy
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from resnet50_recipe.errors import needs_packages

from .onnx import open_session


class Int8Quantizer:
    """
    Static quantisation of ONNX Runtime in QDQ form: weights int8, per channel; activations uint8. The first
    convolution and the classifier are quantised as well.

    Args:
        path: an ONNX file that `export_onnx` wrote.
        images: float32 `(batch, channels, height, width)`, prepared as the model takes them: a few hundred of the
            training set show the activations' ranges, which are taken from smallest to largest.

    Attributes:
        layers: names of the convolutions and the classifier.

    Raises:
        UserError: the packages for it are not installed.
    """

    def __init__(self, path: Path, images: Iterable[np.ndarray]):
        with needs_packages("ONNX", "onnx"):
            import onnx
            from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator
            from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
            from onnxruntime.quantization.shape_inference import quant_pre_process

        class Images(CalibrationDataReader):
            batches = iter(images)

            def get_next(self) -> dict[str, np.ndarray] | None:
                batch = next(self.batches, None)
                return None if batch is None else {"pixel_values": batch}

        self._operators = list(QLinearOpsRegistry | QDQRegistry)
        with tempfile.TemporaryDirectory() as scratch:
            prepared, augmented = Path(scratch) / "prepared.onnx", Path(scratch) / "augmented.onnx"
            quant_pre_process(path, prepared, skip_symbolic_shape=True)
            calibrator = create_calibrator(prepared, self._operators, augmented_model_path=str(augmented))
            calibrator.collect_data(Images())
            self._ranges = calibrator.compute_data()
            self._model = onnx.load(prepared)
        self.layers = [node.name for node in self._model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]

    def write(self, target: Path, in_float: Collection[str] = ()) -> None:
        """Write the quantised file, with some of the layers left as they are."""
        self._quantized(exclude=list(in_float)).save_model_to_file(str(target))

    def errors(self, images: np.ndarray) -> dict[str, float]:
        """
        What each layer costs if it alone is quantised: the root mean square error of the logits, the worst first.

        Args:
            images: a batch, as above.
        """
        import onnx

        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"

            def logits(model: Any) -> np.ndarray:
                onnx.save(model, path)
                return open_session(path).run(["logits"], {"pixel_values": images})[0]

            expected = logits(self._model)
            found = {layer: logits(self._quantized(only=[layer]).model) for layer in self.layers}
        errors = {layer: float(np.sqrt(np.square(answer - expected).mean())) for layer, answer in found.items()}
        return dict(sorted(errors.items(), key=lambda item: -item[1]))

    def _quantized(self, only: list[str] | None = None, exclude: list[str] | None = None) -> Any:
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        quantizer = QDQQuantizer(
            copy.deepcopy(self._model),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=only or [],
            nodes_to_exclude=exclude or [],
            op_types_to_quantize=self._operators,
            extra_options={},
        )
        quantizer.quantize_model()
        return quantizer.model


def predict_onnx(path: Path, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """
    What an ONNX file answers, run by ONNX Runtime on the CPU.

    Args:
        path: the file.
        batches: `pixel_values` float32 `(batch, channels, height, width)` and `labels` int64 `(batch,)`.

    Returns:
        Logits float32 `(images, num_labels)`, and the labels int64 `(images,)`.
    """
    session = open_session(path)
    answers = [(session.run(["logits"], {"pixel_values": images})[0], labels) for images, labels in batches]
    logits, labels = zip(*answers)
    return np.concatenate(logits), np.concatenate(labels)
