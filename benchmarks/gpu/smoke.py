"""
What only several GPUs need, as far as one can show it: NCCL, DDP with compressed gradients, BatchNorm over all
processes, two processes that share a GPU, and torchrun, which starts again what was killed.

    python -m benchmarks.gpu.smoke --out FOLDER [--dry_run]

Writes FOLDER/smoke.json, claim by claim: `holds` is true, false, or null for what is only recorded. Exit code 1 if a
claim does not hold. `--dry_run`: on a CPU, with toys and gloo.
"""

import copy
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules import _functions

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.training.distributed import CPUSyncBatchNorm2d

from .claims import TOY, Claims, Finding, examine_part, training_command
from .processes import run_torchrun


SAME = 1e-4  # a tensor's difference to its size


def training(claims: Claims, run: Path) -> list[str]:
    """train.py for a short epoch, with all that several processes may want."""
    every = "2" if claims.dry_run else "10"
    fields = ["--num_train_epochs", "1", "--warmup_epochs", "1", "--checkpoint_every_steps", every]
    fields += ["--gradient_compression", "fp16", "--sync_batch_norm", "true"]
    fields += ["--mixed_precision", "no" if claims.dry_run else "fp16"]
    return training_command(claims, run, *fields)


def outcome(run: Path) -> Finding:
    """How a run ended."""
    environment = json.loads((run / "environment.json").read_text())
    sessions = environment if isinstance(environment, list) else [environment]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "status": json.loads((run / "status.json").read_text())["status"],
        "starts": len(sessions),
        "devices": sessions[-1]["devices"],
        "processes": sessions[-1]["num_processes"],
        "train_loss": [row["train_loss"] for row in rows],
        "val_top1": [row["val_top1"] for row in rows],
        "skipped_steps": rows[-1]["skipped_steps"],
    }


def by_torchrun(claims: Claims) -> Finding:
    """train.py itself."""
    if claims.dry_run:
        return {"holds": None, "why": "on a CPU the run in DDP is the same"}
    run, begun_at = claims.scratch / "torchrun", time.monotonic()
    run_torchrun(training(claims, run), claims.scratch / "torchrun.log", claims.seconds_left())
    found = outcome(run)
    holds = found["status"] == "finished" and found["train_loss"][-1] < 3
    return {"holds": holds, **found, "seconds": round(time.monotonic() - begun_at, 1)}


def restarted_in_ddp(claims: Claims) -> Finding:
    """The same in DDP, killed in the middle of the epoch, and started again by torchrun."""
    run, seen, begun_at = claims.scratch / "ddp", claims.scratch / "seen.jsonl", time.monotonic()
    step = "5" if claims.dry_run else "25"
    arguments = [str(seen), step, *training(claims, run)[1:], "--resume_from_checkpoint", "auto"]
    said = run_torchrun(
        ["--max-restarts", "1", "-m", "benchmarks.gpu.train_in_ddp", *arguments],
        claims.scratch / "ddp.log",
        claims.seconds_left(),
    )
    found, starts = outcome(run), [json.loads(line) for line in seen.read_text().splitlines()]
    backend = "gloo" if claims.dry_run else "nccl"
    as_wanted = [start["in DDP"] and start["hooks"] == ["fp16_compress_hook"] for start in starts]
    holds = found["status"] == "finished" and found["starts"] == 2 and [s["start"] for s in starts] == [0, 1]
    holds &= all(as_wanted) and all(backend in start["backends"] for start in starts)
    resumed = next((line.strip() for line in said.splitlines() if "resumed from" in line), "")
    return {
        "holds": bool(holds and resumed),
        **found,
        "each start": starts,
        "resumed": resumed.replace(str(claims.scratch), ""),
        "seconds": round(time.monotonic() - begun_at, 1),
    }


def two_processes(claims: Claims) -> Finding:
    """Two in DDP that share the GPU, over gloo: their epoch is that of the one that torchrun started."""
    run, seen, begun_at = claims.scratch / "two", claims.scratch / "seen by two.jsonl", time.monotonic()
    arguments = [str(seen), "0", *training(claims, run)[1:]]
    run_torchrun(
        ["-m", "benchmarks.gpu.train_in_ddp", *arguments], claims.scratch / "two.log", claims.seconds_left(), 2
    )
    found, starts = outcome(run), [json.loads(line) for line in seen.read_text().splitlines()]
    holds = found["status"] == "finished" and found["processes"] == 2
    holds &= len(starts) == 2 and all(start["in DDP"] and "gloo" in start["backends"] for start in starts)
    if not claims.dry_run:
        (loss,), (alone,) = found["train_loss"], outcome(claims.scratch / "torchrun")["train_loss"]
        holds &= abs(loss - alone) < 0.05 * alone
        found["train_loss"] = {"two": loss, "one": alone}
    return {"holds": bool(holds), **found, "each process": starts, "seconds": round(time.monotonic() - begun_at, 1)}


def synchronized(module: nn.SyncBatchNorm) -> Callable[[Tensor], Tensor]:
    """Its forward pass in training with the collective operations, which it leaves out where it is alone."""

    def forward(images: Tensor) -> Tensor:
        output: Tensor = _functions.SyncBatchNorm.apply(
            images, module.weight, module.bias, module.running_mean, module.running_var, module.eps, module.momentum,
            dist.group.WORLD, 1,
        )  # fmt: skip
        return output

    return forward


def synchronized_batch_norm(claims: Claims) -> Finding:
    """
    The network with BatchNorm over all processes, of which there is one, beside the network as it is, without TF32.

    Judged in float64: in float32 the rounding errors of the gradients grow to some percent on the way back, of either
    network to the one in float64.
    """
    store = f"file://{claims.scratch / 'store'}"
    dist.init_process_group("gloo" if claims.dry_run else "nccl", init_method=store, rank=0, world_size=1)
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        torch.manual_seed(0)
        config = ResNet50Config(num_labels=10, **(TOY if claims.dry_run else {}))
        plain = ResNet50ForImageClassification(config).to(claims.device).train()
        images = torch.randn(16, 3, 64, 64, device=claims.device)
        # The CPU's own BatchNorm computes in float32.
        judged = torch.float32 if claims.dry_run else torch.float64
        exact = results(plain, images, judged)
        found: Finding = {"judged": difference(results(converted(copy.deepcopy(plain)), images, judged), exact)}
        if not claims.dry_run:
            for name, dtype in (("float32", torch.float32), ("fp16", torch.float16)):
                found[name] = difference(results(converted(copy.deepcopy(plain)), images, dtype), exact)
                found[f"{name}, not synchronized"] = difference(results(plain, images, dtype), exact)
        same_names = list(plain.state_dict()) == list(converted(copy.deepcopy(plain)).state_dict())
        # In float32 a gradient may be the small difference of large ones.
        kinds = ("logits", "statistics") if claims.dry_run else ("logits", "statistics", "gradients")
        holds = same_names and max(found["judged"][kind] for kind in kinds) <= SAME
        return {"holds": holds, "same names": same_names, "differences": found, "backend": dist.get_backend()}
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
        dist.destroy_process_group()


def converted(model: nn.Module) -> nn.Module:
    """By the means of its device."""
    if next(model.parameters()).device.type == "cpu":
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = CPUSyncBatchNorm2d
        return model
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def results(model: nn.Module, images: Tensor, dtype: torch.dtype) -> dict[str, dict[str, Tensor]]:
    """Logits, running statistics and gradients of a step of a copy, float64; fp16 by autocast, as in training."""
    autocast = dtype == torch.float16
    model = copy.deepcopy(model).to(torch.float32 if autocast else dtype)
    memory_format = torch.contiguous_format if dtype == torch.float64 else torch.channels_last
    model, images = model.to(memory_format=memory_format), images.to(next(model.parameters()).dtype)
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.forward = synchronized(module)
    with torch.autocast(images.device.type, dtype) if autocast else nullcontext():
        logits = model(images.contiguous(memory_format=memory_format)).logits
    logits.double().logsumexp(-1).mean().backward()
    statistics = {name: b for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var"))}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    kinds = {"logits": {"logits": logits.detach()}, "statistics": statistics, "gradients": gradients}
    return {kind: {name: value.double() for name, value in values.items()} for kind, values in kinds.items()}


def difference(found: dict[str, dict[str, Tensor]], exact: dict[str, dict[str, Tensor]]) -> Finding:
    """Of each kind the greatest: of a tensor's difference to its size, both by their norms; and the worst gradient."""
    shares = {
        kind: {name: ((found[kind][name] - value).norm() / value.norm()).item() for name, value in values.items()}
        for kind, values in exact.items()
    }
    worst = max(shares["gradients"], key=lambda name: shares["gradients"][name])
    return {**{kind: max(values.values()) for kind, values in shares.items()}, "worst gradient": worst}


def examine_all(claims: Claims) -> None:
    """Runs one after the other; while the first of them imports, what this process does."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(claims.claim, "by torchrun", lambda: by_torchrun(claims))
        pool.submit(claims.claim, "two processes", lambda: two_processes(claims))
        pool.submit(claims.claim, "restarted in DDP", lambda: restarted_in_ddp(claims))
        claims.claim("synchronized BatchNorm", lambda: synchronized_batch_norm(claims))


def main(arguments: list[str] | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    return examine_part("smoke", __doc__, 90.0, examine_all, arguments)


if __name__ == "__main__":
    sys.exit(main())
