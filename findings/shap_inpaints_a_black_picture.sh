#!/usr/bin/env bash
# One would guess: shap.maskers.Image("inpaint_telea", …) hides parts of a picture of 0…1 as of one of 0…255, and leaves the rest of it; "blur(16,16)" does.
# True:            the picture is cast to uint8 first: of 0…1, nearly all that the network is shown is black, what was not hidden too, and the values explain a black picture; normalised pixels wrap. They no longer sum to the network's answer, and nothing is said.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet shap==0.51.0 opencv-python-headless==5.0.0.93 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - 2>errors <<'PYTHON_CODE' || { cat errors; exit 1; }
import warnings
from importlib.metadata import version

import numpy as np
import shap

rng = np.random.default_rng(0)
size = 32
# Noise of half brightness, in levels of 0 to 255, with a bright square of 12 × 12 pixels.
picture = rng.integers(90, 110, (size, size, 3)).astype(np.float32)
picture[10:22, 10:22] = 240


def explain(how, scale, dtype):
    """How the values sum, how much of them lies on the square, and the darkest picture that the network was shown."""
    shown = []

    def network(pixels):
        """The mean brightness of the square, from 0 to 1: what a picture of 0…255 or 0…1 is, it knows."""
        shown.append(pixels.mean((1, 2, 3)).min() * 255 / scale)
        return pixels[:, 10:22, 10:22].mean((1, 2, 3), dtype=np.float64)[:, None] / scale

    pixels = (picture / 255 * scale).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer = shap.Explainer(network, shap.maskers.Image(how, pixels.shape))
        made = explainer(pixels[None], max_evals=300, batch_size=50, silent=True)
    values = made.values[0, :, :, :, 0]
    answer = network(pixels[None]).item()
    return answer, float(made.base_values.ravel()[0] + values.sum()), float(values[10:22, 10:22].sum()), min(shown)


print(f"shap {version('shap')}, opencv {version('opencv-python-headless')}")
for how in ("inpaint_telea", "inpaint_ns", "blur(16,16)"):
    for scale, dtype in ((255, np.uint8), (255, np.float32), (1, np.float32)):
        answer, total, square, darkest = explain(how, scale, dtype)
        print(
            f"{how}, {np.dtype(dtype).name} of 0…{scale}: the network says {answer:.2f}, base and values sum to {total:.2f}; "
            f"on the square lie {square:+.2f}; the darkest picture shown has a mean level of {darkest:.0f}"
        )
        if how.startswith("inpaint") and scale == 1:
            assert total < 0.01 and square < -0.03 and darkest < 1
        else:
            assert abs(total - answer) < 0.01 and square > 0.15 and darkest > 80
PYTHON_CODE
