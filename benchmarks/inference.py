"""
Inference speed of one ResNet-50 in its many forms, beside torchvision's and timm's, in one process.

    python benchmarks/inference.py [--batch_sizes 1 16] [--rounds 7] [--device cpu]

Every form is timed once in each round, in random order, so that what the machine does meanwhile hits all alike. Shown
are the median images per second, half the distance between the quartiles, and the ratio to the first row.
"""

import argparse
import copy
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
import torchvision

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.hub.fold import fold_batch_norm
from modeling_resnet50.hub.model_folder import image_processor
from modeling_resnet50.hub.onnx import export_onnx, quantize_onnx
from modeling_resnet50.hub.weights import LogitsOnly


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
        export_onnx(model.model, image_processor(224, 0.875, "bilinear", *mean_std), folder)
        quantize_onnx(folder, [np.random.default_rng(0).normal(size=(8, 3, 224, 224)).astype(np.float32)])
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        chosen = forms(device, Path(folder))
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
        print(f"{name}, {torch.get_num_threads()} threads, 224 × 224 pixels, median of {options.rounds} rounds;")
        print(f"torch {torch.__version__}, timm {timm.__version__}, onnxruntime {onnxruntime.__version__}")
        for batch_size in options.batch_sizes:
            pixel_values = torch.randn(batch_size, 3, 224, 224, device=device)
            speeds: dict[str, list[float]] = {form: [] for form in chosen}
            for round_ in range(-1, options.rounds):  # the first only warms up
                for form in random.Random(round_).sample(list(chosen), len(chosen)):
                    function = chosen[form]
                    started_at = time.perf_counter()
                    function(pixel_values)
                    if device.type == "cuda":
                        torch.cuda.synchronize()
                    if round_ >= 0:
                        speeds[form].append(batch_size / (time.perf_counter() - started_at))
            print(f"\n| batch {batch_size} | images/s | ± | ratio |\n| --- | ---: | ---: | ---: |")
            base = statistics.median(next(iter(speeds.values())))
            for form, values in speeds.items():
                low, median, high = statistics.quantiles(values, n=4)
                print(f"| {form} | {median:.1f} | {(high - low) / 2:.1f} | {median / base:.2f} |")


if __name__ == "__main__":
    main()
