#!/usr/bin/env bash
# One would guess: img2dataset stores a photo as a viewer shows it: turned as its EXIF says, or with that tag kept; and one of 16 bits by its upper 8.
# True:            a phone's upright photo is stored lying on its side and the tag is gone, so no reader can turn it; a PNG of 16 bits is cut off at 255, so white. Both are counted as successes, and the sizes it notes are those of the photo as it lies.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet img2dataset==1.47.0 albumentations==1.4.24 opencv-python-headless==4.14.0.94 pillow==12.3.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
cat > store.py <<'PYTHON_CODE'
import functools
import http.server
import json
import threading
from importlib.metadata import version
from pathlib import Path

import numpy as np
from img2dataset import download
from PIL import Image, ImageOps


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def main():
    Path("web").mkdir()
    # Upright it is 300 × 400 with a white sky; the camera stores it lying, 400 × 300, and says so in EXIF.
    upright = Image.new("RGB", (300, 400), (40, 90, 40))
    upright.paste((255, 255, 255), (0, 0, 300, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save("web/phone.jpg", exif=exif, quality=95)
    grey = np.tile(np.linspace(2000, 40000, 400).astype(np.uint16), (400, 1))
    Image.fromarray(grey).save("web/scan.png")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory="web"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = ["phone.jpg", "scan.png"]
    Path("urls.txt").write_text("".join(f"http://127.0.0.1:{server.server_port}/{name}\n" for name in names))
    download("urls.txt", output_folder="stored", image_size=256, resize_mode="keep_ratio", processes_count=1, thread_count=1, encode_quality=95)
    server.shutdown()
    stored = {}
    for path in Path("stored").rglob("*.json"):
        row = json.loads(path.read_text())
        if "url" in row:
            assert row["status"] == "success"
            stored[row["url"].rpartition("/")[2]] = Image.open(path.with_suffix(".jpg"))
    print(f"img2dataset {version('img2dataset')}, albumentations {version('albumentations')}, the short side 256")
    photo = ImageOps.exif_transpose(stored["phone.jpg"]).convert("RGB")
    width, height = photo.size
    top, left = photo.getpixel((width // 2, 5)), photo.getpixel((5, height // 2))
    print(f"phone.jpg, white sky above: orientation {stored['phone.jpg'].getexif().get(0x0112)}, {width} × {height}, colour of the upper edge {top}, of the left edge {left}")
    scan = np.asarray(stored["scan.png"].convert("L"))[128]
    print(f"scan.png, 16 bits, upper bytes {(grey[0, ::50] >> 8).tolist()}: stored {scan[::32].tolist()}")
    assert stored["phone.jpg"].getexif().get(0x0112) is None and min(left) > 240 and max(top) < 120 and width > height
    assert scan.min() >= 250


if __name__ == "__main__":
    main()
PYTHON_CODE
"$PYTHON" -W ignore store.py 2>&1 | grep "dataset \|phone\|scan\|Error"
