"""
LiteRT in a Python of its own, for `python -m benchmarks export`: converts a model's folder, then answers about files.

    python litert_worker.py MODEL FILE.tflite THREADS     a path to images.npy a line; logits.npy lies beside it then
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")  # the converter prints
    os.dup2(2, 1)
    import litert_torch
    import numpy as np
    import torch
    from ai_edge_litert.interpreter import Interpreter

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from modeling_resnet50 import ResNet50ForImageClassification
    from modeling_resnet50.hub.weights import LogitsOnly

    source, target, threads = sys.argv[1:]
    model = ResNet50ForImageClassification.from_pretrained(source).eval()
    litert_torch.convert(LogitsOnly(model).eval(), (torch.zeros(1, 3, 224, 224),)).export(target)
    interpreter = Interpreter(target, num_threads=int(threads))
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    print(version("ai-edge-litert"), file=answers, flush=True)
    for line in sys.stdin:
        path = Path(line.strip())
        logits = []
        for image in np.load(path):
            interpreter.set_tensor(taken["index"], image[None])
            interpreter.invoke()
            logits.append(interpreter.get_tensor(given["index"])[0].copy())
        np.save(path.with_name("logits.npy"), np.stack(logits))
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
