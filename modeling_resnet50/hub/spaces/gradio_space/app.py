"""
A page that asks image classifiers about a picture: their top-5, and where each of them looked (Grad-CAM).

It runs alone, with what requirements.txt names: `python app.py`, or as a Space. Its models are those in models/, or
else those on the Hub that README.md names; its examples are the pictures in examples/.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from huggingface_hub import SpaceCard
from PIL import Image, ImageOps
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop, pad, to_pil_image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import logging


HERE = Path(__file__).parent
NUM_CLASSES_SHOWN = 5
# Of a stranger's picture: a file of a few kilobytes may have a thousand million pixels.
MAX_BYTES, MAX_PIXELS = 20_000_000, 50_000_000
MAX_RATIO = 100  # of its sides: resized by the short one, a strip of 1 × 20,000 pixels takes gigabytes
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's, by the number of channels
# Pillow knows dozens, with as many decoders to attack; EPS is a program, which it would have run.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
BITS, PHOTOMETRIC, SUBFILE, SUBFILES, DNG = 258, 262, 254, 330, 50706  # TIFF's tags
# The visitor's own fonts: others would come from servers elsewhere.
CSS = "#picture img { width: 100%; height: 100%; object-fit: contain }"  # small pictures are enlarged
THEME = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


@dataclass
class Classifier:
    """
    Attributes:
        name: as it is shown.
        model: in evaluation mode; from `pixel_values` to an answer with `logits`; its `config` as transformers has it.
        processor: makes `pixel_values` of a picture.
        label_names: of its classes.
        has_maps: whether the model gives feature maps, which Grad-CAM needs.
    """

    name: str
    model: nn.Module
    processor: Any
    label_names: list[str]
    has_maps: bool

    def __post_init__(self):
        # Two of ImageNet's classes may have the same name ("crane"); answers are told apart by theirs.
        counts = Counter(self.label_names)
        self.label_names = [f"{n} ({i})" if counts[n] > 1 else n for i, n in enumerate(self.label_names)]
        parameter = next(self.model.parameters(), None)
        self.device = "cpu" if parameter is None else parameter.device
        # Below this score of the likeliest class, it is none of them: what evaluate --wanted_precision has found.
        kept = getattr(self.model.config, "confidence_threshold", None) or {}
        self.threshold: float = kept.get("threshold") or 0.0

    def pixel_values(self, picture: Image.Image) -> Tensor:
        """Of a picture, `(1, channels, height, width)`."""
        picture = of_8_bits(picture).convert(MODES[len(self.processor.image_mean)])
        done = {}
        if getattr(self.processor, "crop_mode", "center") == "pad":
            picture, done = padded(picture, self.processor), {"do_resize": False, "do_center_crop": False}
        return self.processor(picture, return_tensors="pt", **done)["pixel_values"].to(self.device)

    def scores(self, pixel_values: Tensor) -> list[float]:
        """Of each class for a picture, as transformers' pipelines give them."""
        logits = self.model(pixel_values=pixel_values).logits[0].float()
        config: Any = self.model.config
        alone = config.problem_type == "multi_label_classification" or config.num_labels == 1
        return (logits.sigmoid() if alone else logits.softmax(-1)).tolist()

    def picture(self, pixel_values: Tensor) -> Image.Image:
        """What the model sees: resized and cropped."""
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.processor.image_mean, self.processor.image_std))
        pixels = ((pixel_values[0].cpu() * std + mean) * 255).round().clamp(0, 255).byte()
        return to_pil_image(pixels)


def opened(file: str) -> Image.Image:
    """
    The picture in a file, upright and of 8 bits.

    Raises:
        gradio.Error: there is none that is read here.
    """
    try:
        picture: Image.Image = Image.open(file, formats=FORMATS)
        tags = getattr(picture, "tag_v2", None)  # a TIFF's
        if max(picture.size) > MAX_RATIO * min(picture.size):
            raise ValueError("a strip")
        if tags is None or not is_raw(tags):
            if tags is None:  # Pillow turns a TIFF by itself
                picture = ImageOps.exif_transpose(picture)
            picture.load()
            return of_8_bits(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise gr.Error("This is no picture that is read here.") from error
    raise gr.Error("This is a camera's raw file, which begins with a thumbnail: develop it to TIFF or JPEG.")


def is_raw(tags: Any) -> bool:
    """Whether they are those of DNG, NEF and the like: of a TIFF, Pillow opens the first picture, a smaller copy."""
    return DNG in tags or (tags.get(SUBFILE, 0) & 1 == 1 and (SUBFILES in tags or tags.next != 0))


def of_8_bits(picture: Image.Image) -> Image.Image:
    """Grey of up to 16 bits scaled, from black to the format's own white: Pillow would make white of all above 255."""
    if not picture.mode.startswith("I"):
        return picture
    tags = getattr(picture, "tag_v2", {})  # a TIFF's
    white = 2 ** tags.get(BITS, (16,))[0] - 1
    levels = np.asarray(picture)
    if tags and tags.get(PHOTOMETRIC, 0) == 0:  # white is zero, which Pillow heeds in 8 bits alone
        levels = white - levels
    return Image.fromarray((levels * (255 / white)).round().astype(np.uint8))


def padded(picture: Image.Image, processor: Any) -> Image.Image:
    """All of a picture, in a square of the mean colour: transformers itself would pad with black."""
    size, side = processor.size["max_height"], processor.crop_size["height"]
    ratio = max(length / size for length in picture.size)
    width, height = (max(1, round(length / ratio)) for length in picture.size)
    picture = picture.resize((width, height), processor.resample)
    across, down = max(0, side - width), max(0, side - height)
    margins = [across // 2, down // 2, across - across // 2, down - down // 2]
    return center_crop(pad(picture, margins, fill=[round(255 * mean) for mean in processor.image_mean]), [side, side])


def open_classifier(name_or_path: str) -> Classifier:
    """A classifier of transformers from the Hub or a folder, with the code that comes with it."""
    config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=True)
    reference = (getattr(config, "auto_map", None) or {}).get("AutoModelForImageClassification")
    # Of several models with the same configuration's code, the Auto class would open all by the first one's class.
    opener: Any = AutoModelForImageClassification
    if reference:
        opener = get_class_from_dynamic_module(reference, name_or_path)
    model = opener.from_pretrained(name_or_path, dtype="float32").eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    processor = AutoImageProcessor.from_pretrained(name_or_path)
    label_names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    has_maps = model.config.model_type in ("resnet50", "resnet")
    return Classifier(Path(name_or_path).name, model, processor, label_names, has_maps)


def build_page(
    classifiers: Sequence[Classifier],
    grad_cam: Callable[..., Tensor],
    overlay: Callable[[Image.Image, np.ndarray], Image.Image],
    examples: Sequence[Path] = (),
) -> gr.Blocks:
    """
    The page, to be launched.

    Args:
        classifiers: one, or several to compare.
        grad_cam, overlay: those of grad_cam.py, which lies beside this file in a Space.
        examples: files to choose from.
    """

    names = " and ".join(classifier.name for classifier in classifiers)
    hint = " Choose a class in the answer to see where the model looked for it." if classifiers[0].has_maps else ""
    explain = partial(_explain, grad_cam, overlay)
    outputs: list[gr.components.Component] = []
    with gr.Blocks(title=names, analytics_enabled=False) as page:
        ways = "Drop a picture, take one, or choose an example." if examples else "Drop a picture, or take one."
        gr.HTML(f"<h1>{escape(names)}</h1>{ways}{hint}")
        with gr.Row():
            with gr.Column():
                picture = _picture_field(examples)
            for classifier in classifiers:
                with gr.Column():
                    outputs += _answer_fields(classifier, picture, explain)

        def answer(file: str | None) -> list[Any]:
            """Of each model whether it is none of its classes, its probabilities, and the likeliest one's heat map."""
            if file is None:
                return [None] * len(outputs)
            picture = opened(file)
            return [value for classifier in classifiers for value in _answers(classifier, picture, explain)]

        picture.change(answer, picture, outputs, api_name="classify")
    return page


def _picture_field(examples: Sequence[Path]) -> gr.Image:
    picture = gr.Image(
        type="filepath",
        image_mode=None,  # as it comes: each model has it converted
        sources=["upload", "webcam", "clipboard"],
        label="Picture",
        height=320,
        elem_id="picture",
        buttons=["fullscreen"],
        webcam_options=gr.WebcamOptions(mirror=False),  # a mirrored 2 is no 2
    )
    if examples:
        gr.Examples([[str(path)] for path in examples], picture, examples_per_page=12)
    return picture


def _answer_fields(
    classifier: Classifier, picture: gr.Image, explain: Callable[..., dict[str, Any]]
) -> list[gr.components.Component]:
    """Of one model: a line above the answer if it may be none, its probabilities, and its heat map if it has one."""
    remark: list[gr.components.Component] = [gr.HTML()] if classifier.threshold else []
    label = gr.Label(num_top_classes=NUM_CLASSES_SHOWN, label=classifier.name)
    if not classifier.has_maps:
        return [*remark, label]
    heat = gr.Image(
        label="Where it looks",
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
    )

    def explain_chosen(file, chosen: gr.SelectData):
        return explain(classifier, opened(file), chosen.value)

    label.select(explain_chosen, picture, heat, api_visibility="private")
    return [*remark, label, heat]


def _answers(classifier: Classifier, picture: Image.Image, explain: Callable[..., dict[str, Any]]) -> list[Any]:
    with torch.inference_mode():
        scores = classifier.scores(classifier.pixel_values(picture))
    probabilities = dict(zip(classifier.label_names, scores))
    remark = [_none_of_these(max(scores), classifier.threshold)] if classifier.threshold else []
    if not classifier.has_maps:
        return [*remark, probabilities]
    return [*remark, probabilities, explain(classifier, picture, max(probabilities, key=probabilities.__getitem__))]


def _none_of_these(score: float, threshold: float) -> str:
    """What stands above the answer, as `resnet50 predict` has it; nothing where the likeliest class is an answer."""
    return f"<b>None of these</b>: no class reaches {threshold:.1%}; most likely:" if score < threshold else ""


def _explain(
    grad_cam: Callable[..., Tensor],
    overlay: Callable[[Image.Image, np.ndarray], Image.Image],
    classifier: Classifier,
    picture: Image.Image,
    label_name: str,
) -> dict[str, Any]:
    """The heat map of a class, over what the model sees."""
    pixel_values = classifier.pixel_values(picture)
    label = torch.tensor([classifier.label_names.index(label_name)], device=classifier.device)
    heat = grad_cam(classifier.model, pixel_values, label, least_side=4)[0].cpu().numpy()
    sees = classifier.picture(pixel_values)
    enlarged = sees.resize((448, round(448 * sees.height / sees.width)), Image.Resampling.NEAREST)
    return gr.update(value=overlay(enlarged, heat), label=f"Where it sees: {label_name}")


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serve a page until Ctrl-C; options as for `gradio.Blocks.launch`."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow raises from twice as many on
    page.launch(theme=THEME, css=CSS, footer_links=["gradio"], max_file_size=MAX_BYTES, **options)


def main() -> None:
    from grad_cam import grad_cam, overlay

    logging.set_verbosity_error()  # it would complain that a folder's name is no Python identifier
    carried = sorted(str(path.parent) for path in HERE.glob("models/*/config.json"))
    names = carried or SpaceCard.load(HERE / "README.md").data.models
    if not names:
        sys.exit("no model to ask: there is none in models/, and README.md names none (models: [user/name])")
    examples = sorted((HERE / "examples").glob("*"))
    launch(build_page([open_classifier(name) for name in names], grad_cam, overlay, examples))


if __name__ == "__main__":
    main()
