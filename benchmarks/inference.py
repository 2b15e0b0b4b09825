"""
Inference speed of one ResNet-50 in its many forms, beside torchvision's and timm's, in one process.

    python -m benchmarks inference [--batch_sizes 1 16] [--rounds 7] [--device cpu]
"""

import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
import torchvision

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.fold import fold_batch_norm
from modeling_resnet50.hub.model_folder import image_processor
from modeling_resnet50.hub.onnx import export_onnx
from modeling_resnet50.hub.quantization import Int8Quantizer
from modeling_resnet50.hub.weights import LogitsOnly

from .common import argument_parser, hardware, keep, print_table, take_turns, versions


def forms(device: torch.device, folder: Path) -> dict[str, Callable[[torch.Tensor], object]]:
    """Name and function of each form; all hold the same weights."""
    model = LogitsOnly(ResNet50ForImageClassification(ResNet50Config())).eval().to(device)
    folded = LogitsOnly(fold_batch_norm(model.model)).eval()
    last = {"memory_format": torch.channels_last}

    def channels_last(network, dtype=None):
        network = copy.deepcopy(network).to(**last)

        def run(pixel_values):
            pixel_values = pixel_values.contiguous(**last)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                return network(pixel_values)

        return run

    chosen = {
        "torchvision, NCHW": torchvision.models.resnet50().eval().to(device),
        "timm, NCHW": timm.create_model("resnet50").eval().to(device),
        "ours, NCHW": model,
        "ours, channels last": channels_last(model),
        "ours, channels last, BatchNorm folded": channels_last(folded),
        "ours, channels last, bf16 autocast": channels_last(model, torch.bfloat16),
        "ours, channels last, folded, torch.compile": channels_last(torch.compile(folded)),
    }
    if device.type == "cpu":
        mean_std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        export_onnx(model.model, image_processor(Preprocessing.by_ratio(224, 0.875, "bilinear", *mean_std)), folder)
        noise = np.random.default_rng(0).normal(size=(8, 3, 224, 224)).astype(np.float32)
        Int8Quantizer(folder / "onnx" / "model.onnx", [noise]).write(folder / "onnx" / "model_quantized.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Its threads would go on spinning into the next form's time.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        for name, file in (("ONNX Runtime", "model.onnx"), ("ONNX Runtime, int8", "model_quantized.onnx")):
            session = onnxruntime.InferenceSession(folder / "onnx" / file, options, ["CPUExecutionProvider"])
            chosen[name] = lambda x, session=session: session.run(None, {"pixel_values": x.numpy()})
    return chosen


@torch.inference_mode()
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    parts = {}
    with tempfile.TemporaryDirectory() as folder:
        chosen = forms(device, Path(folder))
        print(f"{hardware(device)}, {torch.get_num_threads()} threads; {versions('onnxruntime')}")
        for batch_size in options.batch_sizes:
            pixel_values = torch.randn(batch_size, 3, 224, 224, device=device)
            ready = {form: partial(function, pixel_values) for form, function in chosen.items()}
            seconds = take_turns(ready, options.rounds, device=device)
            speeds = {form: [batch_size / taken for taken in values] for form, values in seconds.items()}
            print_table(f"batch {batch_size}", "images/s", speeds, "torchvision, NCHW")
            parts[f"batch {batch_size}"] = ("images/s", "torchvision, NCHW", speeds)
    name = "inference" if device.type == "cpu" else f"inference_{device.type}"
    keep(name, vars(options), parts, device, ("onnxruntime",), options.out)


if __name__ == "__main__":
    main()
