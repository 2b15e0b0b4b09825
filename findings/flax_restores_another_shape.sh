#!/usr/bin/env bash
# One would guess: weights of 1000 classes are refused where they are read into a network of 10, as PyTorch does.
# True:            flax's from_bytes and orbax's PyTreeCheckpointer hand back what is in the file, whatever shape and type they were given; training goes on with 1000 classes. orbax's StandardCheckpointer refuses the shape, and converts the type.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet flax==0.12.8 orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import os
import warnings

os.environ["JAX_PLATFORMS"] = "cpu"
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import flax
import jax.numpy as jnp
import orbax.checkpoint as orbax

stored = {"head": {"kernel": jnp.ones((8, 1000)), "bias": jnp.ones(1000)}}
wanted = {"head": {"kernel": jnp.zeros((8, 10), jnp.bfloat16), "bias": jnp.zeros(10, jnp.bfloat16)}}
folder = os.path.abspath("checkpoint")
with orbax.StandardCheckpointer() as writer:
    writer.save(folder, stored)
print(f"flax {flax.__version__}, orbax {orbax.__version__}: a head of 1000 classes, float32, read into one of 10, bfloat16")
found = {
    "flax.serialization.from_bytes": flax.serialization.from_bytes(wanted, flax.serialization.to_bytes(stored)),
    "orbax.PyTreeCheckpointer": orbax.PyTreeCheckpointer().restore(folder, item=wanted),
}
for name, weights in found.items():
    kernel = weights["head"]["kernel"]
    print(f"{name}: {kernel.shape}, {kernel.dtype}")
    assert kernel.shape == (8, 1000) and kernel.dtype == jnp.float32
try:
    with orbax.StandardCheckpointer() as reader:
        reader.restore(folder, wanted)
    raise SystemExit("StandardCheckpointer takes it")
except ValueError as error:
    print("orbax.StandardCheckpointer:", str(error).split(".")[0])
PYTHON_CODE
