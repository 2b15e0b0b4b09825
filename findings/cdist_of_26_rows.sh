#!/usr/bin/env bash
# One would guess: torch.cdist gives float32's distances: a photo that is there twice is 0 from itself, and one 0.005 away is 0.005 away.
# True:            with more than 25 rows it is a difference of squares, by a matrix product: of features of length 31, distances below 0.01 are 0 or up to 0.02, by chance; on a GPU at matmul precision "high" a row is 0.7 from itself.
# PYTHON=python3 takes the packages that are there, for a machine without a network; with an NVIDIA GPU it looks there too.
set -euo pipefail
if [ -z "${PYTHON:-}" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
"$PYTHON" - <<'PYTHON_CODE'
import torch

torch.manual_seed(0)
features = torch.relu(0.5 + 0.5 * torch.randn(500, 2048))  # as a ResNet-50 pools them: not negative
again = features + 1e-4 * torch.randn(500, 2048)
true = (features.double() - again.double()).norm(dim=1)
print(f"torch {torch.__version__}: 500 features of length {features.norm(dim=1).mean():.0f}, and the same again {true.mean():.4f} away")
few = torch.cdist(features[:25], features[:25])
print(f"25 rows: at most {few.diagonal().max():.4f} from themselves")
own, pairs = torch.cdist(features, features).diagonal(), torch.cdist(features, again).diagonal()
print(f"500 rows: {(own > 0).float().mean():.0%} are not 0 from themselves, but up to {own.max():.4f}")
print(f"those {true.mean():.4f} away: {(pairs == 0).float().mean():.0%} are said to be 0 away, the others {pairs[pairs > 0].min():.4f} to {pairs.max():.4f}")
exact = torch.cdist(features, again, compute_mode="donot_use_mm_for_euclid_dist").diagonal()
print(f'compute_mode="donot_use_mm_for_euclid_dist": {exact.min():.4f} to {exact.max():.4f}')
assert few.diagonal().max() == 0 and own.max() > 0.01 and (exact - true).abs().max() < 1e-4
assert (pairs == 0).float().mean() > 0.3 and pairs.max() > 2 * true.max()
if torch.cuda.is_available():
    torch.manual_seed(0)
    centre = torch.rand(1, 2048, device="cuda")
    x = torch.relu(centre + 0.05 * torch.randn(5000, 2048, device="cuda"))
    seen = {}
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        seen[precision] = torch.cdist(x, x).diagonal().max().item()
    print(f"{torch.cuda.get_device_name()}: 5000 rows, at most {seen['highest']:.3f} from themselves, at matmul precision high {seen['high']:.3f}")
    assert seen["highest"] > 0.01 and seen["high"] > 0.3
PYTHON_CODE
