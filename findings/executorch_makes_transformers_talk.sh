#!/usr/bin/env bash
# One would guess: an exporter that is installed beside transformers changes nothing for programs that do not import it.
# True:            ExecuTorch brings torchao, which transformers imports wherever it is: with torch 2.14 and 2.15, every import of a model class writes two warnings to stderr, past warnings.simplefilter, by PyTorch's own logger.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1 transformers==5.24.0 executorch==1.5.1 torchao==0.18.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
said() { "$PYTHON" -W ignore -c "$1" 2>&1 >/dev/null | grep -c register_constant || true; }
"$PYTHON" -c 'from importlib.metadata import version as v; print(*(f"{n} {v(n)}" for n in ("torch", "transformers", "torchao")), sep=", ")'
alone=$(said "import sys; sys.modules['torchao'] = None; from transformers import PreTrainedModel")
beside=$(said "from transformers import PreTrainedModel")
echo "warnings on stderr while transformers is imported: $beside with torchao installed, $alone where it cannot be found"
[ "$beside" = 2 ] && [ "$alone" = 0 ]
