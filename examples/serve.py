"""
A classifier as a web service: photos in, classes out; those of one request make one batch.

    resnet50 export MODEL served --format onnx --with_preprocessing
    pip install fastapi uvicorn python-multipart onnxruntime pillow
    MODEL=served uvicorn serve:app
    curl -F photos=@a.jpg -F photos=@b.jpg http://127.0.0.1:8000/classify
"""

import io
import json
import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse
from PIL import Image, ImageOps


MAX_PHOTOS, MAX_BYTES, MAX_PIXELS, TOP = 16, 20_000_000, 50_000_000, 5
MAX_RATIO = 100  # of a photo's sides: of a strip that is longer, the preparation may take gigabytes
FORMATS = ["JPEG", "PNG", "WEBP"]  # Pillow knows dozens, with as many decoders to attack

folder = os.path.join(os.environ["MODEL"], "onnx")
prepare = onnxruntime.InferenceSession(os.path.join(folder, "preprocessing.onnx"))
network = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"))
about = network.get_modelmeta().custom_metadata_map
names, preprocessing = json.loads(about["id2label"]), json.loads(about["preprocessing"])
alone = about.get("problem_type") == "multi_label_classification" or len(names) == 1  # each class, true or false
# Below it the answer is "none": what `resnet50 evaluate --wanted_precision` found, in the model's configuration.
threshold = (json.loads(about.get("confidence_threshold", "null")) or {}).get("threshold") or 0.0
mode = {1: "L", 3: "RGB", 4: "RGBA"}[prepare.get_inputs()[0].shape[3]]
app = FastAPI()


@app.middleware("http")
async def refuse_large_requests(request: Request, go_on):
    length = request.headers.get("content-length", "")
    if request.method == "POST" and not (length.isdecimal() and int(length) <= MAX_PHOTOS * MAX_BYTES):
        return JSONResponse({"detail": f"say its length, at most {MAX_PHOTOS * MAX_BYTES} bytes"}, 413)
    return await go_on(request)


def pixel_values_of(photo: UploadFile) -> np.ndarray:
    data = photo.file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise HTTPException(413, f"{photo.filename}: more than {MAX_BYTES} bytes")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)  # its first bytes alone
        if image.width * image.height > MAX_PIXELS:
            raise HTTPException(413, f"{photo.filename}: more than {MAX_PIXELS} pixels")
        if max(image.size) > MAX_RATIO * min(image.size):
            raise HTTPException(413, f"{photo.filename}: more than {MAX_RATIO} times as long as wide")
        if preprocessing["exif_orientation"] == "apply":
            image = ImageOps.exif_transpose(image)
        if image.mode == "I;16":  # of which Pillow would make white whatever is above 255
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        image = image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HTTPException(415, f"{photo.filename}: no picture that is read here") from error
    pixels = np.asarray(image).reshape(1, image.height, image.width, -1)
    return prepare.run(None, {"images": pixels})[0]


@app.post("/classify")
def classify(photos: list[UploadFile]):
    if len(photos) > MAX_PHOTOS:
        raise HTTPException(413, f"at most {MAX_PHOTOS} photos in a request")
    logits = network.run(None, {"pixel_values": np.concatenate([pixel_values_of(photo) for photo in photos])})[0]
    return [answers(row) for row in logits]


def answers(logits: np.ndarray) -> list[dict[str, str | float]]:
    """The likeliest classes, the first first; before them, "none", where the first is below the model's threshold."""
    if alone:
        scores = 1 / (1 + np.exp(-logits))
    else:
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
    best = [{"label": names[str(i)], "score": float(scores[i])} for i in np.argsort(-scores)[:TOP]]
    wrong = 1 - best[0]["score"]  # the chance that it is another
    return [{"label": "none", "score": wrong, "threshold": threshold}] * (best[0]["score"] < threshold) + best
