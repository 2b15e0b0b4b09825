#!/usr/bin/env bash
# One would guess: OpenVINO runs a float32 model in float32 unless told otherwise, or the file could say so.
# True:            on a processor with AVX-512-BF16 or AMX in bfloat16, by default; a hint in the file's rt_info is not read. On others in float32: one file, two answers.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet openvino==2026.4.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import numpy as np
import openvino
from openvino import opset13 as ops

rng = np.random.default_rng(0)
images = ops.parameter([1, 3, 32, 32], np.float32)
weights = rng.normal(0, 0.1, (16, 3, 3, 3)).astype(np.float32)
convolved = ops.convolution(images, weights, [1, 1], [1, 1], [1, 1], [1, 1])
pooled = ops.reduce_mean(ops.relu(convolved), np.array([2, 3]), False)
model = openvino.Model([ops.matmul(pooled, rng.normal(size=(16, 10)).astype(np.float32), False, False)], [images])
model.set_rt_info("f32", ["runtime_options", "INFERENCE_PRECISION_HINT"])
openvino.save_model(model, "model.xml", compress_to_fp16=False)
core, picture = openvino.Core(), rng.normal(size=(1, 3, 32, 32)).astype(np.float32)


def run(**hints):
    compiled = core.compile_model("model.xml", "CPU", hints)
    return compiled([picture])[0], compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()


(by_default, precision), (in_float32, _) = run(), run(INFERENCE_PRECISION_HINT="f32")
has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
apart = np.abs(by_default - in_float32).max() / np.abs(in_float32).max()
print(f"OpenVINO {openvino.__version__.split('-')[0]}: instructions for bfloat16: {has_bf16}; computes in {precision}, {apart:.1e} of the largest logit away from float32")
assert (precision == "bf16") == has_bf16
assert (apart > 1e-4) == has_bf16
PYTHON_CODE
