// From a picture to the pixels that the model takes: to the last grey level what Pillow and torchvision make of it in
// Python. (A canvas leaves out pixels where it makes a picture much smaller, and mixes them where it crops by halves.)

const BITS = 22; // of the fraction, as in Pillow

const FILTERS = {
  2: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) }, // bilinear
  3: { support: 2, at: bicubic },
};

function bicubic(x) {
  const a = -0.5;
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** For each output position: the first input position that counts, and the weights from there on. */
function weights(inputSize, outputSize, filter) {
  const scale = inputSize / outputSize;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  return Array.from({ length: outputSize }, (_, position) => {
    const center = (position + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(inputSize, Math.trunc(center + support + 0.5));
    const raw = Array.from({ length: end - first }, (_, i) => filter.at((first + i - center + 0.5) / stretch));
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return { first, weights: raw.map((weight) => Math.round((weight / sum) * 2 ** BITS)) };
  });
}

/** One pass: `steps` along which pixels are mixed, `lines` beside each other; strides in pixels, 4 bytes each. */
function pass(input, output, table, lines, inputStride, inputLine, outputStride, outputLine) {
  for (let line = 0; line < lines; line++) {
    table.forEach(({ first, weights }, position) => {
      let red = 1 << (BITS - 1);
      let green = red;
      let blue = red;
      let from = 4 * (line * inputLine + first * inputStride);
      for (const weight of weights) {
        red += input[from] * weight;
        green += input[from + 1] * weight;
        blue += input[from + 2] * weight;
        from += 4 * inputStride;
      }
      const to = 4 * (line * outputLine + position * outputStride);
      output[to] = red >> BITS; // a Uint8ClampedArray, which clips
      output[to + 1] = green >> BITS;
      output[to + 2] = blue >> BITS;
      output[to + 3] = 255;
    });
  }
}

/**
 * The square that the model takes.
 * @param {ImageData} picture RGBA; transparency is dropped.
 * @param {object} processor of preprocessor_config.json. Its size: shortest_edge; height and width, to squash; or
 *   max_height and max_width, to pad with the mean colour.
 */
export function square(picture, { size, resample, crop_size: { width, height }, image_mean }) {
  const long = Math.max(picture.width / size.max_width, picture.height / size.max_height);
  const short = Math.min(picture.width, picture.height);
  const side = (length) =>
    long ? Math.max(1, halfToEven(length / long)) : (size.height ?? Math.trunc((length * size.shortest_edge) / short));
  const resized = resize(picture, side(picture.width), side(picture.height), resample);
  return centerCrop(pad(resized, width, height, image_mean), width, height);
}

/**
 * Resize a picture.
 * @param {ImageData} picture RGBA; transparency is dropped.
 * @param {number} width
 * @param {number} height
 * @param {number} resample Pillow's number: 2 for bilinear, 3 for bicubic.
 * @returns {{data: Uint8ClampedArray, width: number, height: number}} RGBA.
 */
export function resize(picture, width, height, resample) {
  const filter = FILTERS[resample];
  const between = new Uint8ClampedArray(4 * width * picture.height);
  pass(picture.data, between, weights(picture.width, width, filter), picture.height, 1, picture.width, 1, width);
  const data = new Uint8ClampedArray(4 * width * height);
  pass(between, data, weights(picture.height, height, filter), width, width, 1, width, 1);
  return { data, width, height };
}

/**
 * The central part of a picture; of an odd margin, torchvision's half.
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA, not smaller than the part.
 * @param {number} width
 * @param {number} height
 */
export function centerCrop(picture, width, height) {
  const left = halfToEven((picture.width - width) / 2);
  const top = halfToEven((picture.height - height) / 2);
  const data = new Uint8ClampedArray(4 * width * height);
  for (let row = 0; row < height; row++) {
    const start = 4 * ((top + row) * picture.width + left);
    data.set(picture.data.subarray(start, start + 4 * width), 4 * row * width);
  }
  return { data, width, height };
}

/** A picture with margins of one colour, which make it as large as is asked; of an odd rest, the larger half is last. */
function pad(picture, leastWidth, leastHeight, mean) {
  const width = Math.max(picture.width, leastWidth);
  const height = Math.max(picture.height, leastHeight);
  if (width === picture.width && height === picture.height) return picture;
  const colour = [...mean.map((value) => halfToEven(255 * value)), 255];
  const data = new Uint8ClampedArray(4 * width * height).map((_, index) => colour[index % 4]);
  const left = Math.floor((width - picture.width) / 2);
  const top = Math.floor((height - picture.height) / 2);
  for (let row = 0; row < picture.height; row++) {
    const start = 4 * row * picture.width;
    data.set(picture.data.subarray(start, start + 4 * picture.width), 4 * ((top + row) * width + left));
  }
  return { data, width, height };
}

/** The nearest whole number; of two, the even one, as in Python. */
function halfToEven(number) {
  const floor = Math.floor(number);
  if (number - floor === 0.5) return floor % 2 ? floor + 1 : floor;
  return Math.round(number);
}
