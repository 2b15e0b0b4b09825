// An image classifier in the browser, by transformers.js. What differs from Space to Space is in settings.json.

import { square } from "./pixels.js";

const $ = (id) => document.getElementById(id);
const megabytes = (bytes) => (bytes < 1e6 ? "under 1 MB" : `${Math.round(bytes / 1e6)} MB`);
const getJson = async (path) => (await fetch(path)).json();

let settings, processor, hasWebGpu;
let classifier; // a promise, from the first picture on
let latest = 0; // pictures so far: an answer to an older one is not shown
const started = start();

async function start() {
  [settings, processor] = await Promise.all(["settings.json", "model/preprocessor_config.json"].map(getJson));
  const graphics = await navigator.gpu?.requestAdapter().catch(() => null);
  hasWebGpu = Boolean(graphics) && (settings.dtype === "fp32" || graphics.features.has("shader-f16"));
  document.title = $("title").textContent = settings.title;
  say(`The first picture fetches the model (${megabytes(settings.model_bytes)}) and what runs it (about ` +
    `${megabytes(settings.runtime_bytes)}); the browser keeps them.`);
  showBackend(hasWebGpu ? "webgpu" : "wasm");
  showExamples();
}

// The model

async function openClassifier() {
  const { env, pipeline, RawImage } = await import(new URL(settings.transformers_js, location.href));
  env.allowRemoteModels = false;
  env.allowLocalModels = true;
  env.localModelPath = "./";
  if (settings.runtime_folder !== null) {
    const folder = new URL(settings.runtime_folder, location.href);
    env.backends.onnx.wasm.wasmPaths = Object.fromEntries(
      ["mjs", "wasm"].map((kind) => [kind, new URL(`ort-wasm-simd-threaded.asyncify.${kind}`, folder).href]),
    );
  }
  const open = (device) =>
    pipeline("image-classification", "model", { device, dtype: settings.dtype, progress_callback: showProgress });
  let device = hasWebGpu ? "webgpu" : "wasm";
  const classify = await open(device).catch((error) => {
    if (device === "wasm") throw error;
    console.warn("WebGPU failed, WASM is tried", error);
    return open((device = "wasm"));
  });
  const { image_processor: preparation } = classify.processor;
  preparation.do_resize = preparation.do_center_crop = false; // `prepare` has done it
  $("progress").hidden = true;
  showBackend(device);
  return (picture) => classify(new RawImage(picture.data, picture.width, picture.height, 4), { top_k: 5 });
}

/** Of a picture, upright, the central square that the model takes. */
async function prepare(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const picture = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return square(picture, processor);
}

async function classify(blob) {
  const number = ++latest;
  closeCamera();
  showAnswers([]);
  try {
    await started;
    const picture = await prepare(blob).catch(() => {
      throw new Error("this is no picture that the browser can read");
    });
    show(blob, picture);
    say("Loading the model …");
    classifier ??= openClassifier().catch((error) => {
      classifier = undefined; // so that the next picture tries again
      throw error;
    });
    const answer = await classifier;
    if (number !== latest) return;
    say("Looking …");
    await new Promise(requestAnimationFrame); // so that it is seen
    const start = performance.now();
    const found = await answer(picture);
    if (number !== latest) return;
    say(`Took ${Math.round(performance.now() - start)} ms`);
    showAnswers(found);
  } catch (error) {
    if (number !== latest) return;
    $("progress").hidden = true;
    say(`Sorry: ${error.message ?? error}`, true);
  }
}

// What is seen

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

function show(blob, picture) {
  URL.revokeObjectURL($("picture").src);
  $("picture").src = URL.createObjectURL(blob);
  $("picture").classList.toggle("small", picture.width <= 96);
  $("picture").hidden = false;
  $("invitation").hidden = true;
}

function showProgress({ status, file, loaded, total }) {
  if (status !== "progress" || !file.endsWith(".onnx")) return;
  $("progress").hidden = false;
  $("progress").value = loaded / total;
  say(`Loading the model: ${Math.round(loaded / 1e6)} of ${megabytes(total)}`);
}

function showBackend(device) {
  const name = device === "webgpu" ? "the graphics processor (WebGPU)" : "the processor (WASM)";
  const links = [["transformers.js", "https://github.com/huggingface/transformers.js"]];
  if (settings.model_card) links.unshift([settings.model_name, settings.model_card]);
  $("footer").replaceChildren(`Runs on ${name} · ${megabytes(settings.model_bytes)}`);
  for (const [textContent, href] of links)
    $("footer").append(" · ", Object.assign(document.createElement("a"), { href, textContent }));
  $("footer").dataset.backend = device;
}

/** The likeliest class first. Below the model's own threshold, it is none of them. */
function showAnswers(found) {
  const threshold = settings?.threshold ?? 0;
  $("none").hidden = !(found[0]?.score < threshold);
  $("none").textContent = `None of these: no class reaches ${(100 * threshold).toFixed(1)} %; most likely:`;
  $("answers").replaceChildren(...found.map(bar));
}

function bar({ label, score }) {
  const row = document.createElement("li");
  row.style.setProperty("--score", score);
  row.dataset.score = score;
  const percent = `${(100 * score).toFixed(1)} %`;
  for (const [name, text] of [["label", label], ["score", percent]])
    row.append(Object.assign(document.createElement("span"), { className: name, textContent: text }));
  return row;
}

function showExamples() {
  $("examples").hidden = settings.examples.length === 0;
  for (const path of settings.examples) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(Object.assign(document.createElement("img"), { src: path, alt: `Example ${path.split("/").pop()}` }));
    button.addEventListener("click", async () => classify(await (await fetch(path)).blob()));
    $("examples").append(button);
  }
}

// Where pictures come from

function classifyFirst(files) {
  if (files?.length) classify(files[0]);
}

$("file").addEventListener("change", ({ target }) => {
  classifyFirst(target.files);
  target.value = ""; // the same file may be chosen again
});
addEventListener("paste", ({ clipboardData }) => classifyFirst(clipboardData.files));
for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]])
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (kind === "drop") classifyFirst(event.dataTransfer.files);
  });

$("camera").addEventListener("click", async () => {
  if ($("video").srcObject) return closeCamera();
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    await $("video").play();
    showCamera(true);
  } catch (error) {
    say(`No camera: ${error.message}`, true);
  }
});

$("shutter").addEventListener("click", async () => {
  const canvas = new OffscreenCanvas($("video").videoWidth, $("video").videoHeight);
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  classify(await canvas.convertToBlob());
});

function showCamera(on) {
  $("video").hidden = $("shutter").hidden = !on;
  $("camera").textContent = on ? "Close" : "Camera";
  $("choose").hidden = on;
  $("invitation").hidden = on || !$("picture").hidden;
  if (!on) return;
  $("picture").hidden = true;
  showAnswers([]);
  say("");
}

function closeCamera() {
  if (!$("video").srcObject) return;
  for (const track of $("video").srcObject.getTracks()) track.stop();
  $("video").srcObject = null;
  showCamera(false);
}
