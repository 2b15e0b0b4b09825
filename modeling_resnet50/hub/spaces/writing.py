"""
The two kinds of Spaces, as folders. Their pages lie beside this file, in gradio_space and static_space, and go into
every Space as they are; what differs is written here.

    README.md app.py grad_cam.py requirements.txt  examples/  models/    asked by a server, with Gradio
    README.md index.html app.js pixels.js style.css settings.json  examples/  model/  vendor/    in the browser
"""

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import SpaceCard, SpaceCardData
from PIL import Image
from transformers import BitImageProcessor

from resnet50_recipe.errors import UserError

from ...evaluation import grad_cam
from ...modeling_resnet50 import ResNet50ForImageClassification
from ..markdown import code, one_line
from ..onnx import export_onnx
from ..publishing import model_files
from .examples import save_examples


GRADIO_VERSION = "6.31.0"  # that Spaces run, and the tests
PYTHON_VERSION = "3.11"
# transformers.js comes from a CDN, by its exact version, unless it is carried along; so does what it runs models with,
# onnxruntime-web, of which that version asks for these files.
TRANSFORMERS_JS_VERSION = "4.3.1"
_TRANSFORMERS_JS = f"https://cdn.jsdelivr.net/npm/@huggingface/transformers@{TRANSFORMERS_JS_VERSION}"
_TRANSFORMERS_JS_FILE = "@huggingface/transformers/dist/transformers.min.js"
_RUNTIME_FILES = [f"onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.{kind}" for kind in ("mjs", "wasm")]
_RUNTIME_BYTES = 27_500_000  # of these three

_OF_A_MODEL = (".json", ".safetensors", ".py")  # what it takes to open one


def write_gradio_space(folder: Path, title: str, models: list[str], examples: list[Image.Image]) -> None:
    """
    A Space that asks models by transformers, on a server.

    Args:
        folder: exists, and is empty.
        models: one, or several to compare: ids on the Hub, which the Space names; or folders, which it carries along.
        examples: pictures to try.

    Raises:
        UserError: a folder holds no model, or both ways are mixed.
    """
    carried = [Path(model) for model in models if Path(model).is_dir()]
    if carried and len(carried) < len(models):
        raise UserError("compare models that are all on the Hub, or all in folders: a Space has them from one place")
    for model in carried:
        target = folder / "models" / "-".join(model.absolute().parts[-2:])
        for name, path in model_files(model).items():
            if "/" not in name and name.endswith(_OF_A_MODEL):
                target.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
    _copy("gradio_space", folder, ["app.py", "requirements.txt"])
    shutil.copyfile(grad_cam.__file__, folder / "grad_cam.py")
    if examples:
        save_examples(examples, folder / "examples")
    on_hub = [] if carried else models
    settings = {
        "sdk": "gradio",
        "sdk_version": GRADIO_VERSION,
        "python_version": PYTHON_VERSION,
        "app_file": "app.py",
        "preload_from_hub": list(on_hub) or None,  # when the Space is built, not each time that it starts
    }
    _write_card("gradio_space", folder, title, on_hub, **settings)


def write_static_space(
    folder: Path,
    title: str,
    model: ResNet50ForImageClassification,
    processor: BitImageProcessor,
    model_id: str | None,
    examples: list[Image.Image],
    *,
    fp16: bool = True,
    node_modules: Path | None = None,
) -> None:
    """
    A Space that runs the model in the visitor's browser, exported to ONNX, by transformers.js.

    Args:
        folder: exists, and is empty.
        model, processor: as for `export_onnx`.
        model_id: where the model is on the Hub, for a link.
        examples: pictures to try.
        fp16: in half precision, which is half the download.
        node_modules: where npm has put @huggingface/transformers, which the Space then carries along.

    Raises:
        UserError: node_modules has no transformers.js, or the packages for ONNX are not installed.
    """
    if node_modules is not None:
        _vendor(node_modules, folder / "vendor")
    (folder / "model").mkdir()
    export_onnx(model, processor, folder / "model", fp32=not fp16, fp16=fp16)
    name = "model_fp16.onnx" if fp16 else "model.onnx"
    _copy("static_space", folder, ["index.html", "app.js", "pixels.js", "style.css"])
    paths = save_examples(examples, folder / "examples") if examples else []
    settings = {
        "title": title,
        "model_name": None if model_id is None else one_line(model_id),
        "model_card": None if model_id is None else f"https://huggingface.co/{model_id}",
        "threshold": (model.config.confidence_threshold or {}).get("threshold"),
        "dtype": "fp16" if fp16 else "fp32",
        "model_bytes": (folder / "model" / "onnx" / name).stat().st_size,
        "runtime_bytes": _RUNTIME_BYTES,
        "transformers_js": _TRANSFORMERS_JS if node_modules is None else "vendor/transformers.min.js",
        "runtime_folder": None if node_modules is None else "vendor/",
        "examples": [path.relative_to(folder).as_posix() for path in paths],
    }
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    _write_card("static_space", folder, title, [model_id] if model_id else [], sdk="static", app_file="index.html")


def _copy(kind: str, folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).write_bytes(files(__package__).joinpath(kind, name).read_bytes())


def _vendor(node_modules: Path, folder: Path) -> None:
    folder.mkdir()
    try:
        version = json.loads((node_modules / "@huggingface/transformers/package.json").read_bytes())["version"]
        for name in [_TRANSFORMERS_JS_FILE, *_RUNTIME_FILES]:
            shutil.copyfile(node_modules / name, folder / Path(name).name)
    except FileNotFoundError as error:
        raise UserError(
            f"{node_modules} has no {Path(error.filename).name}: run "
            f"`npm install @huggingface/transformers@{TRANSFORMERS_JS_VERSION}`, and give its node_modules"
        ) from error
    if version != TRANSFORMERS_JS_VERSION:
        raise UserError(f"{node_modules} has transformers.js {version}, but the page needs {TRANSFORMERS_JS_VERSION}")


def _write_card(kind: str, folder: Path, title: str, models: list[str], **settings: Any) -> None:
    data = SpaceCardData(
        title=one_line(title),
        emoji="🔎",
        colorFrom="indigo",
        colorTo="yellow",
        short_description="What an image classifier sees in your pictures",
        license="apache-2.0",
        models=models or None,
        tags=["image-classification", "resnet", "resnet50"],
        pinned=False,
        **settings,
    )
    template = files(__package__).joinpath(kind, "README.md").read_text(encoding="utf-8")
    named = " and ".join(f"[{code(model)}](https://huggingface.co/{model})" for model in models)
    words = {"title": one_line(title), "models": named or "the model that it carries along"}
    SpaceCard.from_template(data, template_str=template, **words).save(folder / "README.md")
