#!/usr/bin/env bash
# One would guess: quantize_static of ONNX Runtime with CalibrationMethod.Entropy looks for the threshold that loses least information, and cuts outliers off.
# True:            its histogram has 128 bins, for 128 levels: one candidate is left, the whole range. The file is MinMax's, scale by scale, after more time; quantize_static has no option for the bins. With 2048, as TensorRT's, which create_calibrator takes, it cuts.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import contextlib
import io

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, quantize_static
from onnxruntime.quantization.calibrate import create_calibrator

rng = np.random.default_rng(0)
weights = {"W": rng.normal(0, 0.2, (16, 3, 3, 3)), "V": rng.normal(0, 0.1, (16, 16, 3, 3)), "H": rng.normal(0, 1, (10, 16))}
nodes = [
    helper.make_node("Conv", ["pixels", "W"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Conv", ["b", "V"], ["c"]),
    helper.make_node("GlobalAveragePool", ["c"], ["d"]), helper.make_node("Flatten", ["d"], ["e"]), helper.make_node("Gemm", ["e", "H"], ["logits"], transB=1),
]  # fmt: skip
info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("pixels", ["n", 3, 16, 16]), ("logits", ["n", 10]))]
graph = helper.make_graph(nodes, "classifier", info[:1], info[1:], [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), "model.onnx")
pictures = rng.normal(0, 1, (64, 3, 16, 16)).astype(np.float32)
pictures[5, :, 3, 4] = 40  # one pixel of one picture


class Pictures(CalibrationDataReader):
    def __init__(self):
        self.batches = iter(np.split(pictures, 16))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"pixels": batch}


def scales(method):
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static("model.onnx", "quantised.onnx", Pictures(), calibrate_method=method)
    stored = {i.name: numpy_helper.to_array(i) for i in onnx.load("quantised.onnx").graph.initializer}
    return np.array([stored[f"{name}_scale"].item() for name in ("pixels", "b", "c")])


def reach(**options):
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator("model.onnx", None, augmented_model_path="augmented.onnx", calibrate_method=CalibrationMethod.Entropy, extra_options=options)
        calibrator.collect_data(Pictures())
        return float(np.ravel(calibrator.compute_data()["pixels"].range_value[1])[0])


found = {method.name: scales(method) for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile)}
print(f"onnxruntime {onnxruntime.__version__}: pixels of deviation 1, and one of 40; the scales of three tensors")
for name, of in found.items():
    print(f"{name}: {of.round(4).tolist()}")
assert np.array_equal(found["MinMax"], found["Entropy"]) and (found["Percentile"] < found["MinMax"]).all()
by_bins = {bins: reach(num_bins=bins) for bins in (128, 256, 2048)}
print(f"the largest pixel that Entropy keeps, by its number of bins: { {bins: round(of, 1) for bins, of in by_bins.items()} }")
assert by_bins[128] == 40 and by_bins[2048] < 10
PYTHON_CODE
