"""
How fast a training step is, beside the peers', and what it is made of. Batch 256 at 224 pixels, in turns.

    python -m benchmarks.gpu.fast --out FOLDER [--only ours] [--dry_run]
"""

import argparse
import re
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..common import hardware, versions
from ..step import Worker, forms_on, images_per_second, take_turns
from ..step_worker import Form
from .record import Record


BASE = "ours"
PROFILED = (BASE, "ours, compiled", "ours, bf16", "ours, lamb and ema", "timm, with ours")
GIGABYTE = 1e9
KINDS = {  # by what is in the kernels' names, the first that fits
    "BatchNorm": r"batch_?norm|bn_(fw|bw)|cudnn.*bn|BatchNorm",
    "convolution and matrix product": r"conv|gemm|xmma|cutlass|wgrad|dgrad|implicit|nvjet|sm\d0_",
    "layout": r"nchwToNhwc|nhwcToNchw|permute|transpose",
    "optimizer": r"multi_tensor|foreach",
    "pooling": r"pool",
    "fused by the compiler": r"^triton_",
    "element by element": r"elementwise|vectorized|reduce_kernel|copy",
}


def forms(device: str, batch_size: int, image_size: int) -> dict[str, Form]:
    """The peers as their users run them, ours in all its settings, the peers with ours; the most telling first."""
    known = forms_on(device, batch_size, image_size, compiled=False)
    ours = known[BASE]
    lamb = {"optim": "lamb", "ema_decay": 0.9999}
    found = {name: form for name, form in known.items() if form.script != "ours" and "with ours" not in name}
    found |= {BASE: ours, "timm, with ours": known["timm, with ours"], "ours, compiled": replace(ours, compiled=True)}
    if device != "cpu":
        found |= {
            "ours, bf16, compiled": replace(ours, precision="bf16", compiled=True),
            "ours, bf16": replace(ours, precision="bf16"),
            "ours, optimizer not fused": replace(ours, fields={"optim_args": {"foreach": True}}),
            "ours, clipped": replace(ours, fields={"max_grad_norm": 1.0}),
            "ours, CUDA graphs": replace(ours, compiled=True, fields={"torch_compile_mode": "reduce-overhead"}),
            "ours, cudnn_benchmark off": replace(ours, cudnn_benchmark=False),
            "ours, full_determinism": replace(ours, cudnn_benchmark=False, fields={"full_determinism": True}),
        }
    found["ours, lamb and ema"] = replace(ours, fields=lamb)
    found |= {name: form for name, form in known.items() if "with ours" in name}
    found["timm, with ours, compiled"] = replace(known["timm, with ours"], compiled=True)
    return found


def ceilings(device: torch.device, size: int, rounds: int = 20) -> dict[str, float]:
    """Bytes per second (read and written) of a large copy, and operations per second of a large fp16 product."""
    source = torch.empty(size * size * 16, device=device, dtype=torch.float16).normal_()
    target = torch.empty_like(source)
    a, b = (torch.randn(size, size, device=device, dtype=torch.float16) for _ in range(2))
    copy = _median_seconds(lambda: target.copy_(source), rounds)
    product = _median_seconds(lambda: a @ b, rounds)
    return {"copy_bytes_per_s": 2 * source.nbytes / copy, "matmul_flops_per_s": 2 * size**3 / product}


def _median_seconds(work: Any, rounds: int) -> float:
    seconds = []
    for _ in range(rounds + 3):
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        ended.synchronize()
        seconds.append(begun.elapsed_time(ended) / 1000)
    return statistics.median(seconds[3:])


def kinds_of(kernels: list[tuple[str, int, float]]) -> dict[str, float]:
    """Share of the GPU's time by kind of kernel."""
    total = sum(seconds for _, _, seconds in kernels) or 1.0
    shares: dict[str, float] = {}
    for name, _, seconds in kernels:
        kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "other")
        shares[kind] = shares.get(kind, 0.0) + seconds / total
    return {kind: round(share, 4) for kind, share in sorted(shares.items(), key=lambda item: -item[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", help="forms whose names have this in them")
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=75, help="after so long, no further form is made ready")
    parser.add_argument("--dry_run", action="store_true", help="on the CPU, at toy size")
    options = parser.parse_args()
    record = Record(options.out / "fast.json")
    device = "cpu" if options.dry_run else "cuda"
    if options.dry_run:
        options.batch_size, options.image_size, options.rounds, options.steps = 2, 32, 1, 1
    else:
        record.put("ceilings", ceilings(torch.device(device), 8192))
    chosen = forms(device, options.batch_size, options.image_size)
    if options.dry_run:  # a process each, on two cores: one of each kind will do, and compiling takes a minute
        chosen = {name: form for name, form in chosen.items() if name in (BASE, "timm", "ours, lamb and ema")}
    if options.only:
        chosen = {name: form for name, form in chosen.items() if options.only in name}
    record.put("settings", {"batch_size": options.batch_size, "image_size": options.image_size,
                            "hardware": hardware(torch.device(device)), "versions": versions()})  # fmt: skip
    measure(chosen, options, record)


def measure(chosen: dict[str, Form], options: argparse.Namespace, record: Record) -> None:
    begun_at = time.monotonic()
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(form)) for name, form in chosen.items()}
        ready = {}
        for name, worker in workers.items():
            if time.monotonic() - begun_at > options.seconds:
                record.put(f"left out: {name}", "no time was left")
                continue
            try:
                worker.ask()
                # Alone, one after the other: cuDNN times its algorithms, and the compiler compiles.
                first = worker.ask(steps=1, warm_up=0)
                worker.ask(steps=1)
                ready[name] = worker
                record.put(f"first step: {name}", round(first["seconds"][0], 2))
            except RuntimeError as error:
                record.put(f"failed: {name}", str(error)[-1500:])
        for rounds in range(1, options.rounds + 1):  # on disk after each
            answers = take_turns(ready, 1, options.steps)
            for name, turns in answers.items():
                found = record.findings.get(name, {"images_per_second": []})
                found["images_per_second"] += [
                    round(v, 1) for v in images_per_second({name: turns}, options.batch_size)[name]
                ]
                found["milliseconds"] = [round(1000 * s, 3) for s in turns[-1]["seconds"]]
                found["memory_gb"] = round(turns[-1].get("memory", 0) / GIGABYTE, 2)
                record.findings[name] = found
            record.put("rounds", rounds)
        if options.dry_run:
            return
        for name in [name for name in PROFILED if name in ready]:
            try:
                kernels = ready[name].ask(steps=3, kernels=True)["kernels"]
            except RuntimeError as error:
                record.put(f"failed: {name}", str(error)[-1500:])
                continue
            record.put(f"kernels: {name}", {
                "longest": [(kernel[:120], count // 3, round(1000 * s / 3, 3)) for kernel, count, s in kernels[:12]],
                "milliseconds": round(1000 * sum(s for *_, s in kernels) / 3, 2),
                "launches": sum(count for _, count, _ in kernels) // 3,
                "shares": kinds_of(kernels),
            })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
