#!/usr/bin/env bash
# One would guess: importing OpenVINO and converting a model stay on this machine, or it asks first.
# True:            each import and each conversion sends messages to Google Analytics, each by a process forked from this one; a client's number is kept in ~/intel. Not where CI=true is set, or after `opt_in_out --opt_out`.
# PYTHON=python3 takes the packages that are there, for a machine without a network. Nothing is sent: the sending is counted.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-telemetry==2025.2.0 onnx==1.23.2
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
env -u CI HOME="$folder" "$PYTHON" - <<'PYTHON_CODE'
from importlib.metadata import version

from openvino_telemetry.utils.sender import TelemetrySender

sent = []


def count(sender, backend, message):
    sent.append((backend.backend_url.split("/")[2], message["events"][0]["name"]))


TelemetrySender.send = count

import openvino  # noqa: E402 - what it sends is the question

imported = len(sent)
from onnx import TensorProto, helper, save  # noqa: E402

value = helper.make_tensor_value_info
graph = helper.make_graph(
    [helper.make_node("Relu", ["images"], ["logits"])],
    "graph",
    [value("images", TensorProto.FLOAT, [1, 8])],
    [value("logits", TensorProto.FLOAT, [1, 8])],
)
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), "model.onnx")
openvino.convert_model("model.onnx")
print(f"openvino {version('openvino')}, openvino-telemetry {version('openvino-telemetry')}")
print(f"to {sent[0][0]}: {imported} of the import, {len(sent) - imported} of the conversion, {sorted({name for _, name in sent})}")
assert imported >= 1
assert len(sent) > imported
PYTHON_CODE
