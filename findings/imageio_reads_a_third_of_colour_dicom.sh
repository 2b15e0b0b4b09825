#!/usr/bin/env bash
# One would guess: imageio and scikit-image read an uncompressed DICOM in colours (ultrasound, dermoscopy, endoscopy) as height, width, 3, as pydicom and SimpleITK do, or refuse it.
# True:            they give a grey picture of the right height and width, made of the first third of the bytes: red, green and blue of the photo's upper third, one beside the other and each row of it over three. Grey ones are right, so a set of both loads without a word.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet imageio==2.38.1 scikit-image==0.26.0 pydicom==3.0.2 SimpleITK==2.5.7 numpy==2.4.6
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" -W ignore - <<'PYTHON_CODE'
import contextlib
import io
import os

import imageio
import numpy as np
import pydicom
import SimpleITK
import skimage
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def write(name, pixels):
    """As an uncompressed secondary capture, in a folder of its own."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.InstanceNumber = generate_uid(), 1
    colours = pixels.shape[-1] if pixels.ndim == 3 else 1
    data.set_pixel_data(pixels, "RGB" if colours == 3 else "MONOCHROME2", 8)
    os.mkdir(name)
    data.save_as(f"{name}/photo.dcm", enforce_file_format=True)
    return f"{name}/photo.dcm"


readers = {
    "pydicom": lambda path: pydicom.dcmread(path).pixel_array,
    "SimpleITK": lambda path: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))[0],
    "imageio": imageio.v3.imread,
    "scikit-image": skimage.io.imread,
}
photo = skimage.data.astronaut()
grey = np.ascontiguousarray(photo[..., 1])
paths = {"grey": (write("grey", grey), grey), "colours": (write("colours", photo), photo)}
print(f"imageio {imageio.__version__}, scikit-image {skimage.__version__}, pydicom {pydicom.__version__}, SimpleITK {SimpleITK.__version__}")
for name, read in readers.items():
    for kind, (path, pixels) in paths.items():
        with contextlib.redirect_stdout(io.StringIO()):  # imageio shows how many files it has looked at
            seen = np.asarray(read(path))
        right = np.array_equal(seen, pixels)
        third = np.array_equal(seen.ravel(), pixels.ravel()[: pixels.size // 3])
        print(f"{name}, {kind}, written as {pixels.shape}: {seen.shape} {seen.dtype}, {'its pixels' if right else 'the first third of the bytes' if third else 'others'}")
        assert third if name in ("imageio", "scikit-image") and kind == "colours" else right
PYTHON_CODE
