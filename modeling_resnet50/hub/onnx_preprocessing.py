"""
ONNX files that take photos as they are: the preparation's graph in front of the network's, probabilities behind it.

    onnx/model_with_preprocessing.onnx  …_fp16.onnx  …_quantized.onnx     beside the files that they are made of
    onnx/preprocessing.onnx                                               the first part alone, for servers that batch
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import BitImageProcessor

from ..data.transforms import IMAGE_MODES
from .agreement import Agreement
from .image_graph import ImagePreparation
from .onnx import OPSET, to_onnx


if TYPE_CHECKING:
    import onnx

PREPROCESSING_FILE = "preprocessing.onnx"

_README = """\
# An image classifier as ONNX files

`onnx/model.onnx` and its likes take prepared images, `pixel_values`, and give logits. Those with `_with_preprocessing`
in their names take a photo's own pixels, and no library has to prepare them:

```python
import numpy, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("onnx/model_with_preprocessing.onnx")
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}")
images = numpy.asarray(photo).reshape(1, photo.height, photo.width, {channels})
probabilities = session.run(["probabilities"], {{"images": images}})[0]
```

- Input `images`: uint8 `(batch, height, width, {channels})`, of any size; those of one call have the same.
- Output `probabilities`: float32 `(batch, classes)`{topk}. The classes' names are in the file's metadata: JSON, under
  `id2label`.
- `onnx/preprocessing.onnx` goes from `images` to `pixel_values` alone: photos of many sizes, prepared one by one, go
  through `onnx/model.onnx` together.
- Standard operators of ONNX, opset {opset}; no others.

Measured beside Pillow's preparation and the model in PyTorch, on {data}:

| file | pixels, of 255 levels | the same class first | probabilities |
| --- | --- | --- | --- |
{rows}
"""


def add_preprocessing(folder: Path, processor: BitImageProcessor, config: Any, topk: int | None = None) -> list[Path]:
    """
    Write `onnx/preprocessing.onnx`, and a file with preprocessing for each one that `export_onnx` and quantisation
    have left in `onnx/`. Standard operators only.

    The first makes `pixel_values` of `images`, uint8 `(batch, height, width, channels)` of any size; the images of one
    call have one size. The others go on to `probabilities` float32 `(batch, num_labels)`, and with `topk` also to
    `top_probabilities` float32 and `top_labels` int64, `(batch, topk)`.

    Args:
        config: of the model, which says whether its classes exclude each other.
        topk: at most the number of classes.

    Returns:
        The files with preprocessing.
    """
    import onnx

    example = torch.zeros(2, 240, 320, len(processor.image_mean), dtype=torch.uint8)
    # Names of their own: runtimes take sizes of one name for equal.
    sizes = {0: "batch", 1: "photo_height", 2: "photo_width"}
    front = to_onnx(ImagePreparation.of(processor), {"images": example}, {"images": sizes}, "pixel_values")
    written = []
    for source in sorted((folder / "onnx").glob("model*.onnx")):
        proto = _joined(front, onnx.load(source), config.problem_type, topk)
        onnx.checker.check_model(proto, full_check=True)
        written.append(source.with_name(source.name.replace("model", "model_with_preprocessing", 1)))
        onnx.save(proto, written[-1])
    onnx.save(front, folder / "onnx" / PREPROCESSING_FILE)
    return written


def write_readme(
    folder: Path, agreements: dict[str, Agreement], processor: BitImageProcessor, topk: int | None, data: str | None
) -> None:
    """
    `README.md`: how to use files with preprocessing, and how far they are from Pillow's.

    Args:
        agreements: of each file, by its name.
        data: on which they were measured; None: on pictures that were made up.
    """
    images = next(iter(agreements.values())).images
    top = "" if topk is None else f"; `top_probabilities` and `top_labels`, `(batch, {topk})`: the likeliest"
    num_channels = len(processor.image_mean)
    text = _README.format(
        mode=IMAGE_MODES[num_channels],
        channels=num_channels,
        topk=top,
        opset=OPSET,
        data=f"{images:,} images of {data}" if data else f"{images:,} pictures that were made up",
        rows="\n".join(
            f"| `onnx/{name}` | at most {found.levels:.0f} apart | on {found.same_top1:,} of {found.images:,} | "
            f"at most {found.probability:.2g} apart |"
            for name, found in agreements.items()
        ),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _joined(
    front: "onnx.ModelProto", network: "onnx.ModelProto", problem_type: str | None, topk: int | None
) -> "onnx.ModelProto":
    from onnx import TensorProto, compose, helper, numpy_helper

    prefixed = compose.add_prefix(front, "preprocessing/", rename_inputs=False, rename_outputs=False)
    prefixed.ir_version = network.ir_version
    proto = compose.merge_models(
        prefixed, network, [("pixel_values", "pixel_values")], producer_name=network.producer_name
    )
    graph = proto.graph
    num_labels = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    del graph.value_info[:]  # shapes of a network whose input may have any size; here it has one
    del graph.output[:]
    several = problem_type == "multi_label_classification" or num_labels == 1  # as `class_scores` has it
    about: dict[str, Any] = {} if several else {"axis": -1}
    graph.node.append(helper.make_node("Sigmoid" if several else "Softmax", ["logits"], ["probabilities"], **about))
    outputs = [("probabilities", TensorProto.FLOAT, num_labels)]
    if topk is not None:
        graph.initializer.append(numpy_helper.from_array(np.array([topk], np.int64), "topk"))
        graph.node.append(helper.make_node("TopK", ["probabilities", "topk"], ["top_probabilities", "top_labels"]))
        outputs += [("top_probabilities", TensorProto.FLOAT, topk), ("top_labels", TensorProto.INT64, topk)]
    graph.output.extend(helper.make_tensor_value_info(name, kind, ["batch", count]) for name, kind, count in outputs)
    return proto
