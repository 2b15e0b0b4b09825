#!/usr/bin/env bash
# One would guess: tf.image.sample_distorted_bounding_box with area_range=(0.08, 1), TensorFlow's crop for ResNets, draws the area evenly between the two, as RandomResizedCrop of torchvision, albumentations, kornia and DALI does with scale=(0.08, 1).
# True:            it draws the height evenly, so that areas are its square: of a photo of 500 × 375, half of its crops have less than 34 % and 27 % of them less than a fifth, of the others' half have less than 42 % and 18 % less than a fifth. A recipe that moves from one to the other is another one, with the same numbers in it.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet tensorflow-cpu==2.21.0 albumentations==2.0.8 opencv-python-headless==4.14.0.94 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > crops.py <<'PYTHON_CODE'
import albumentations
import numpy as np
import tensorflow as tf

CROPS, SCALE, RATIO = 4000, (0.08, 1.0), (3 / 4, 4 / 3)


def by_tensorflow(height, width, covered):
    def size(_):
        return tf.image.sample_distorted_bounding_box(
            (height, width, 3), tf.zeros((1, 0, 4)), area_range=SCALE, aspect_ratio_range=RATIO,
            min_object_covered=covered, max_attempts=100, use_image_if_no_bounding_boxes=True, seed=1,
        ).size[:2]

    return tf.function(lambda: tf.map_fn(size, tf.range(CROPS)))().numpy()


def by_albumentations(height, width):
    crop = albumentations.RandomResizedCrop((224, 224), scale=SCALE, ratio=RATIO)
    crop.set_random_seed(0)
    corners = [crop.get_params_dependent_on_data({"shape": (height, width, 3)}, {})["crop_coords"] for _ in range(CROPS)]
    return np.array([(bottom - top, right - left) for left, top, right, bottom in corners])


def by_hand(height, width):
    random, sizes = np.random.default_rng(0), []
    while len(sizes) < CROPS:
        area, ratio = random.uniform(*SCALE) * height * width, np.exp(random.uniform(*np.log(RATIO)))
        size = round(np.sqrt(area / ratio)), round(np.sqrt(area * ratio))
        if size[0] <= height and size[1] <= width:
            sizes.append(size)
    return np.array(sizes)


tf.random.set_seed(0)
print(f"tensorflow {tf.__version__}, albumentations {albumentations.__version__}: {CROPS} crops, area_range = scale = {SCALE}")
for height, width in ((375, 500), (1000, 1000)):
    shares = {}
    drawn = {"albumentations": by_albumentations(height, width), "an even area, by hand": by_hand(height, width)}
    drawn |= {f"TensorFlow, min_object_covered={covered}": by_tensorflow(height, width, covered) for covered in (0.0, 0.1)}
    for name, sizes in drawn.items():
        areas = sizes.prod(axis=1) / (height * width)
        shares[name] = np.median(areas), (areas < 0.2).mean()
        print(f"{width} × {height}, {name}: median area {np.median(areas):.2f}, less than a fifth of the photo {(areas < 0.2).mean():.0%}, {areas.min():.2f}…{areas.max():.2f}")
    (median, small), (median_by_hand, small_by_hand), *others = shares.values()
    assert abs(median - median_by_hand) < 0.03 and abs(small - small_by_hand) < 0.03
    assert all(of_tf < median - 0.03 and small_of_tf > small + 0.02 for of_tf, small_of_tf in others)
PYTHON_CODE
TF_CPP_MIN_LOG_LEVEL=3 "$PYTHON" -W ignore crops.py
