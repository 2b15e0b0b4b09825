"""
Is what a GPU computes right? train.py on the embedded digits in fp16 and bf16, killed and resumed, compiled; fp16 that
overflows; logits, evaluation and ONNX beside the CPU's.

    python -m benchmarks.gpu.right --out FOLDER [--dry_run]

Writes FOLDER/right.json, claim by claim: `holds` is true, false, or null for what is only recorded or was not examined
in time. At most two runs share the GPU, which serves many by turns, slowly. Exit code 1 if a claim does not hold.
`--dry_run`: on a CPU, with toys, in bf16 instead of fp16.
"""

import copy
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from safetensors.torch import load_file
from torch import Tensor, nn

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.hub.model_folder import load_model
from modeling_resnet50.hub.onnx import export_onnx
from modeling_resnet50.training.averaging import create_average
from modeling_resnet50.training.checkpoint import Progress, TrainingState
from modeling_resnet50.training.distributed import create_accelerator
from modeling_resnet50.training.kernels import choose_algorithms
from modeling_resnet50.training.losses import Criterion
from modeling_resnet50.training.numerics import NumericsGuard
from modeling_resnet50.training.optimization import create_optimizer, set_learning_rate
from modeling_resnet50.training.run_folder import RunFolder
from resnet50_recipe.errors import UserError
from resnet50_recipe.run_options import RunOptions
from resnet50_recipe.training_arguments import TrainingArguments

from .claims import TOY, Claims, Finding, Task, examine_part, training_command
from .processes import Started, begin_importing
from .stem import examine_stem, repeated


LEAST_TOP1 = 0.95  # of the digits; a CPU reaches 98.9 %
SAME_LOGITS = 1e-3
AT_ONCE = 2


class Kit:
    """Where the claims are examined, and how the runs are started."""

    def __init__(self, claims: Claims):
        self.claims = claims
        self.dry_run, self.device, self.scratch = claims.dry_run, claims.device, claims.scratch
        self.claim, self.seconds_left = claims.claim, claims.seconds_left
        self.precision = "bf16" if claims.dry_run else "fp16"

    def train(self, run: str, *fields: str, environment: dict[str, str] | None = None) -> Started:
        """Begin `train.py`, in this folder of runs."""
        command = training_command(self.claims, self.run(run), *fields)
        return Started(command, self.scratch / f"{run}-{time.monotonic_ns()}.log", environment)

    def resnet50(self, name: str, *arguments: str) -> Started:
        return Started(["-m", "resnet50_cli", *arguments], self.scratch / f"{name}.log")

    def run(self, name: str) -> Path:
        return self.scratch / name


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def best_row(kit: Kit) -> dict[str, Any]:
    """Of the run that others begin with: of equals the first, as the run itself has it."""
    return max(rows_of(kit.run("half")), key=lambda row: row["val_top1"])


def json_line(command: Started) -> str:
    """What it printed for scripts."""
    (line,) = [line for line in command.said().splitlines() if line.startswith("{")]
    return line


def weights_sha256(folder: Path) -> str:
    """Of the names and bytes of all tensors of a model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        digest.update(name.encode() + tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# Runs of train.py


def digits(kit: Kit, run: str, precision: str, *fields: str) -> Finding:
    """A run from beginning to end."""
    epochs = "2" if kit.dry_run else "9"  # as the recipe has it
    seconds = kit.train(
        run, "--mixed_precision", precision, "--num_train_epochs", epochs, "--checkpoint_every_epochs", "1", *fields
    ).wait(kit.seconds_left())
    rows = rows_of(kit.run(run))
    # Toys learn little.
    least = 0.0 if kit.dry_run else LEAST_TOP1
    return {
        "holds": rows[-1]["val_top1"] >= least and len(rows) == int(epochs),
        "least": least,
        "val_top1": [row["val_top1"] for row in rows],
        "train_loss": [row["train_loss"] for row in rows],
        "skipped_steps": rows[-1]["skipped_steps"],
        "seconds": {"process": round(seconds, 1), "training": round(rows[-1]["seconds"], 1)},
    }


def killed_and_resumed(kit: Kit) -> Finding:
    """SIGKILL in the middle of the second and last epoch, and on again: beside the same run undisturbed."""
    fields = (
        "--mixed_precision", kit.precision, "--num_train_epochs", "2", "--warmup_epochs", "1", "--ema_decay", "0.99",
        "--checkpoint_every_steps", "2" if kit.dry_run else "15", "--full_determinism", "true",
    )  # fmt: skip
    kit.train("undisturbed", *fields).wait(kit.seconds_left())
    killed, run = kit.train("killed", *fields), kit.run("killed")
    killed.kill_when(lambda: any(run.glob("checkpoints/epoch-0001-batch-*")), kit.seconds_left())
    was_over = (run / "final").exists()
    resumed = kit.train("killed", *fields, "--resume_from_checkpoint", "latest")
    resumed.wait(kit.seconds_left())
    same = {
        folder: weights_sha256(run / folder) == weights_sha256(kit.run("undisturbed") / folder)
        for folder in ("final", "final_average")
    }
    remark = next((line.strip() for line in resumed.said().splitlines() if "resumed from" in line), "")
    return {
        "holds": all(same.values()) and not was_over,
        "same_weights": same,
        "killed_before_its_end": not was_over,
        "resumed": remark.replace(str(kit.scratch), ""),
        "sha256": weights_sha256(run / "final"),
    }


def same_twice(kit: Kit) -> Finding:
    """The same run twice, without full_determinism."""
    if kit.dry_run:
        return {"holds": None, "why": "needs a GPU"}
    for run in ("once", "again"):
        kit.train(run, *brief(kit, 2)).wait(kit.seconds_left())
    same = weights_sha256(kit.run("once") / "final") == weights_sha256(kit.run("again") / "final")
    losses = [[row["train_loss"] for row in rows_of(kit.run(run))] for run in ("once", "again")]
    return {"holds": None, "same_weights": same, "train_loss": losses}


def compiling(kit: Kit) -> tuple[list[str], dict[str, str]]:
    """Fields of a compiled run, and its environment."""
    if kit.dry_run:  # a backend that only traces: compiling for a CPU takes a minute
        return [], {"ACCELERATE_DYNAMO_BACKEND": "EAGER"}
    return ["--torch_compile", "true"], {}


def brief(kit: Kit, epochs: int) -> list[str]:
    """Fields of a run of few epochs."""
    return [
        "--mixed_precision", kit.precision, "--num_train_epochs", str(epochs), "--warmup_epochs", "1",
        "--checkpoint_every_epochs", "1",
    ]  # fmt: skip


def compiled(kit: Kit) -> Finding:
    """An epoch compiled: does its loss stay small, and have its weights the names they have otherwise?"""
    fields, environment = compiling(kit)
    run = kit.train("compiled", *brief(kit, 1), *fields, environment=environment)
    seconds = run.wait(kit.seconds_left())
    rows = rows_of(kit.run("compiled"))
    compiles_without_end = "recompile_limit" in run.said()
    names, plain = (set(load_file(kit.run(name) / "best" / "model.safetensors")) for name in ("compiled", "half"))
    return {
        "holds": rows[-1]["train_loss"] < 3 and not compiles_without_end and names == plain,
        "plain names": names == plain,
        "recompile limit reached": compiles_without_end,
        "train_loss": rows[-1]["train_loss"],
        "val_top1": rows[-1]["val_top1"],
        "seconds": {"process": round(seconds, 1), "training": round(rows[-1]["seconds"], 1)},
    }


def on_without_compiling(kit: Kit) -> Finding:
    """A second epoch of the compiled run, as it is written."""
    checkpoint = kit.run("compiled") / "checkpoints" / "epoch-0001"
    fields = [*brief(kit, 2), "--resume_from_checkpoint", str(checkpoint), "--allow_recipe_change", "true"]
    seconds = kit.train("on-without", *fields).wait(kit.seconds_left())
    losses = [rows_of(kit.run(run))[-1]["train_loss"] for run in ("compiled", "on-without")]
    # Toys learn little.
    holds = losses[1] < (1.05 if kit.dry_run else 0.95) * losses[0]
    return {"holds": holds, "train_loss": losses, "seconds": round(seconds, 1)}


def on_compiling(kit: Kit) -> Finding:
    """The last epoch of a run that was not compiled, compiled, from what the compiled one has left in its cache."""
    rows = rows_of(kit.run("half"))
    checkpoint = kit.run("half") / "checkpoints" / f"epoch-{len(rows) - 1:04d}"
    fields, environment = compiling(kit)
    fields += ["--mixed_precision", kit.precision, "--num_train_epochs", str(len(rows))]
    fields += ["--checkpoint_every_epochs", "1", "--resume_from_checkpoint", str(checkpoint)]
    seconds = kit.train("on-compiling", *fields, environment=environment).wait(kit.seconds_left())
    row = rows_of(kit.run("on-compiling"))[-1]
    both = {"val_top1": [rows[-1]["val_top1"], row["val_top1"]]}
    return {"holds": abs(row["val_top1"] - rows[-1]["val_top1"]) < 0.05, **both, "seconds": round(seconds, 1)}


def profiled(kit: Kit) -> Finding:
    """What `--profile_steps` left of a run."""
    folder = kit.run("bf16") / "profile"
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    kernels = [event for event in events if event.get("cat") == "kernel"]
    summary = json.loads((folder / "summary.json").read_text())
    return {
        "holds": summary["steps"] == 3 and (kit.dry_run or len(kernels) > 100),
        "kernels": len(kernels),
        "in_words": summary["in_words"],
    }


def inspected(kit: Kit) -> Finding:
    """`resnet50 inspect`, with Grad-CAM."""
    folder = kit.scratch / "inspection"
    command = kit.resnet50("inspect", "inspect", str(kit.run("half")), "--samples", "8", "--output", str(folder))
    seconds = command.wait(kit.seconds_left())
    pictures = sorted(path.name for path in folder.rglob("*.png"))
    page = any(folder.glob("*.html"))
    return {"holds": page and bool(pictures), "pictures": pictures, "seconds": round(seconds, 1)}


def evaluated(kit: Kit) -> Finding:
    """`resnet50 evaluate` of best/ in each precision; in the run's own it gives the run's own figures."""
    # The toy's choice is the run's own.
    precisions = [kit.precision] if kit.dry_run else ["fp16", "no", "bf16"]
    best = str(kit.run("half") / "best")
    options = ["--dataset", kit.claims.dataset, "--num_workers", "0", "--batch_size", "32", "--json"]
    found: dict[str, dict[str, float]] = {}
    for precision in precisions:
        command = kit.resnet50(f"evaluate-{precision}", "evaluate", best, *options, "--mixed_precision", precision)
        command.wait(kit.seconds_left())
        answer = json.loads(json_line(command))
        found[precision] = {name: answer[name] for name in ("top1", "top5", "loss", "images")}
    row = best_row(kit)
    same = found[kit.precision]
    an_image = 1 / same["images"]
    holds = abs(same["top1"] - row["val_top1"]) < 0.5 * an_image and abs(same["loss"] - row["val_loss"]) < SAME_LOGITS
    holds &= all(abs(each["top1"] - row["val_top1"]) <= 0.02 for each in found.values())
    training = {"top1": row["val_top1"], "top5": row["val_top5"], "loss": row["val_loss"]}
    return {"holds": bool(holds), "in training": training, **found}


def frozen(kit: Kit) -> Finding:
    """An epoch more of the run's best, clipped, with an average; stem and first stage are kept as they are."""
    run, best = kit.run("frozen"), kit.run("half") / "best"
    fields = ["--model_name_or_path", str(best), "--freeze_stages", "stage1", "--max_grad_norm", "1"]
    fields += ["--ema_decay", "0.9", "--learning_rate", "0.002"]
    kit.train("frozen", *brief(kit, 1), *fields).wait(kit.seconds_left())
    before, after = (load_file(folder / "model.safetensors") for folder in (best, run / "final"))
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    kept = {name for name in before if name.startswith(("conv1.", "bn1.", "layer1."))}
    top1 = [row["val_top1"] for row in (best_row(kit), rows_of(run)[-1])]
    # Toys learn little.
    learns = kit.dry_run or top1[1] > top1[0] - 0.05
    return {
        "holds": bool(kept and moved) and not moved & kept and learns,
        "kept": len(kept),
        "kept, but moved": sorted(moved & kept)[:5] or "none",
        "moved": len(moved),
        "val_top1": top1,
        "skipped_steps": rows_of(run)[-1]["skipped_steps"],
    }


def taught(kit: Kit) -> Finding:
    """A student of the run's best, by itself and by what was kept of the teacher: the same weights."""
    fields = [*brief(kit, 1), "--teacher", str(kit.run("half") / "best"), "--full_determinism", "true"]
    fields += ["--teacher_cache", str(kit.scratch / "kept")]
    seconds = {run: round(kit.train(run, *fields).wait(kit.seconds_left()), 1) for run in ("taught", "taught again")}
    same = weights_sha256(kit.run("taught") / "final") == weights_sha256(kit.run("taught again") / "final")
    losses = [rows_of(kit.run(run))[-1]["train_loss"] for run in seconds]
    return {"holds": same and losses[0] == losses[0], "same_weights": same, "train_loss": losses, "seconds": seconds}


def benchmarked(kit: Kit) -> Finding:
    """`resnet50 benchmark` of the run's best, on the device."""
    options = ["--batch_sizes", "1,32", "--rounds", "5", "--device", kit.device.type, "--json"]
    command = kit.resnet50("benchmark", "benchmark", str(kit.run("half") / "best"), *options)
    seconds = command.wait(kit.seconds_left())
    found = json.loads(json_line(command).replace(str(kit.scratch), ""))
    return {"holds": bool(found["results"]), **found, "seconds": round(seconds, 1)}


# In this process


def fresh_accelerator(recipe: TrainingArguments) -> Accelerator:
    """The state that Accelerators share is forgotten in between."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return create_accelerator(recipe)


class Step:
    """
    A training step of ResNet-50 that can be repeated: each begins with the same weights, images and loss scale.

    Args:
        batch_size: cuDNN keeps what it has chosen for a shape, autotuned or not: another choice needs another.
    """

    def __init__(self, kit: Kit, batch_size: int, **algorithms: Any):
        self.recipe = TrainingArguments(mixed_precision=kit.precision, **algorithms)
        self.accelerator = fresh_accelerator(self.recipe)
        torch.manual_seed(0)
        side = 32 if kit.dry_run else 224
        config = ResNet50Config(num_labels=1000, **(TOY if kit.dry_run else {}))
        self.model = ResNet50ForImageClassification(config).to(kit.device, memory_format=torch.channels_last).train()
        self.network = self.accelerator.prepare(self.model)
        self.criterion = Criterion(self.recipe)
        images = torch.randn(batch_size, 3, side, side, device=kit.device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 1000, (batch_size,), device=kit.device)
        self.begin = {name: value.clone() for name, value in self.model.state_dict().items()}

    def take(self, scale: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The outputs of all modules, call by call, and the gradients of the loss times `scale`, which fp16 has."""
        self.model.load_state_dict(self.begin)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict({**self.accelerator.scaler.state_dict(), "scale": scale})
        outputs: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()  # an activation is called several times
        names = {module: name for name, module in self.model.named_modules() if not list(module.children())}

        def keep(module: nn.Module, _: Any, output: Tensor) -> None:
            calls[names[module]] += 1
            # A copy: the activation after it works in place.
            outputs[f"{names[module]}, call {calls[names[module]]}"] = output.detach().clone()

        hooks = [module.register_forward_hook(keep) for module in names]
        logits = self.network(self.images).logits
        self.accelerator.backward(self.criterion(logits, {"labels": self.labels, "targets": self.labels}))
        for hook in hooks:
            hook.remove()
        gradients: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            assert parameter.grad is not None
            gradients[name], parameter.grad = parameter.grad, None
        return outputs, gradients


def differences(repetitions: list[dict[str, Tensor]]) -> dict[str, Finding]:
    """Of the tensors whose bits are not the same each time."""
    compared = {name: repeated([each[name] for each in repetitions]) for name in repetitions[0]}
    return {name: finding for name, finding in compared.items() if len(set(finding["alike"])) > 1}


def differing_operations(kit: Kit, batch_size: int, **algorithms: Any) -> Finding:
    """The same step three times from the same state: what differs, from which to which, and by how much."""
    step = Step(kit, 2 if kit.dry_run else batch_size, **algorithms)
    outputs, gradients = zip(*(step.take(2.0**10) for _ in range(3)))
    different_outputs, different_gradients = differences(list(outputs)), differences(list(gradients))
    finite = all(torch.isfinite(value).all() for value in gradients[0].values())
    del outputs
    # As training begins: here gradients overflow, and NaN is not even equal to itself.
    at_first = [step.take(2.0**16)[1] for _ in range(3)]
    overflowing = {
        name: {"NaN": int(value.isnan().sum()), "infinite": int(value.isinf().sum()), "of": value.numel()}
        for name, value in at_first[0].items()
        if not torch.isfinite(value).all()
    }
    judged = step.recipe.full_determinism or kit.dry_run
    return {
        "holds": bool(finite and not different_outputs and not different_gradients) if judged else None,
        "finite": finite,
        "outputs that differ": len(different_outputs),
        "the first of them": dict(list(different_outputs.items())[:3]),
        "gradients that differ": len(different_gradients),
        # The backward pass goes through the network from its end.
        "those met first": dict(list(different_gradients.items())[::-1][:3]),
        "loss scale 65536": {"differ": differences(at_first), "not finite": overflowing},
    }


class OverflowingRun:
    """The pieces of a training step as train.py puts them together, with a loss scaler."""

    def __init__(self, kit: Kit, optim_args: dict[str, Any] | None):
        precision = "no" if kit.dry_run else "fp16"
        self.recipe = TrainingArguments(
            mixed_precision=precision, optim_args=optim_args, ema_decay=0.9, output_dir=str(kit.run("overflow")),
            cudnn_benchmark=False,
        )  # fmt: skip
        self.accelerator = fresh_accelerator(self.recipe)
        self.autocast: Callable[[], AbstractContextManager] = nullcontext  # the Accelerator's own
        if kit.dry_run:  # where it refuses fp16
            self.accelerator.scaler = torch.amp.GradScaler("cpu")
            self.autocast = lambda: torch.autocast("cpu", torch.float16)
        torch.manual_seed(0)
        config = ResNet50Config(num_labels=10, **(TOY if kit.dry_run else {}))
        model = ResNet50ForImageClassification(config).to(kit.device, memory_format=torch.channels_last).train()
        optimizer = create_optimizer(model, self.recipe)
        self.average = create_average(model, self.recipe)
        self.criterion = Criterion(self.recipe)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.plain_model = self.accelerator.unwrap_model(self.model)
        self.progress = Progress()
        self.state = TrainingState(self.accelerator, self.model, self.optimizer, self.average, self.progress)
        run = RunFolder(self.recipe)
        self.guard = NumericsGuard(
            self.accelerator, self.plain_model, self.optimizer, self.recipe, 10, run, self.progress
        )
        self.images = torch.randn(16, 3, 64, 64, device=kit.device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (16,), device=kit.device)

    def set_scale(self, scale: float) -> None:
        self.accelerator.scaler.load_state_dict({**self.accelerator.scaler.state_dict(), "scale": scale})
        self.guard.forget()  # as after loading a checkpoint, which sets it too

    def step(self, images: Tensor) -> bool:
        """One step, as in train.py; whether it was taken."""
        with self.accelerator.accumulate(self.model):
            set_learning_rate(self.optimizer, 0.01)
            self.guard.begin_step()
            with self.autocast():
                logits = self.model(images).logits.float()
            loss = self.criterion(logits, {"labels": self.labels, "targets": self.labels})
            self.guard.watch(loss, list(range(16)))
            self.accelerator.backward(loss)
            trouble = self.guard.judge(0.01)
            assert trouble is None, trouble
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.guard.step_ended()
        taken = self.guard.step_was_taken()
        if taken:
            self.progress.step += 1
            if self.average is not None:
                self.average.after_step(
                    self.plain_model, self.guard.buffers_of(self.plain_model), self.progress.step, 1
                )
        return taken

    def whole_state(self) -> dict[str, Tensor]:
        taken = self.state.take()
        assert taken is not None
        tensors = {f"{part}.{name}": value for part in ("model", "average") for name, value in taken[part].items()}
        for index, values in taken["optimizer"]["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
        return {name: value.clone() for name, value in tensors.items()}


def overflow(kit: Kit, how: str, optim_args: dict[str, Any] | None = None) -> Finding:
    """A step that overflows leaves nothing behind but a smaller scale, and is counted; then training goes on."""
    try:
        run = OverflowingRun(kit, optim_args)
    except UserError as error:
        return {"holds": True, "refused": str(error)}
    run.set_scale(2.0**10)
    begun = run.step(run.images)
    before = run.whole_state()
    images, scale = run.images, 2.0**10
    if how == "the loss scale":
        scale = 2.0**40
        run.set_scale(scale)
    else:
        images = run.images * 1e6
    taken = run.step(images)
    after = run.whole_state()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    broken = [name for name, value in after.items() if not torch.isfinite(value).all()]
    scale_after = run.accelerator.scaler.get_scale()
    skipped = run.progress.skipped_steps
    run.set_scale(2.0**10)
    goes_on = run.step(run.images)
    then = run.whole_state()
    moved = any(not torch.equal(value, then[name]) for name, value in after.items())
    finite = all(torch.isfinite(value).all() for value in then.values())
    as_it_should = not taken and not changed and not broken and skipped == 1 and scale_after == scale / 2
    return {
        "holds": bool(begun and as_it_should and goes_on and moved and finite),
        "skipped": not taken,
        "counted": skipped,
        "changed": changed[:8] or "nothing",
        "not finite": broken[:8] or "nothing",
        "scale": [scale, scale_after],
        "goes on": bool(goes_on and moved and finite),
    }


def stem_gradients(kit: Kit) -> Finding:
    """The one convolution whose shape is like no other, by itself."""
    batch_size, side = (2, 32) if kit.dry_run else (64, 224)
    return {"holds": None, **examine_stem(kit.device, batch_size, side)}


def as_if_trained(model: nn.Module, images: Tensor) -> nn.Module:
    """BatchNorms with weights of their own and the images' statistics, which fresh ones would not have."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.1)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def digit_images(kit: Kit, count: int) -> Tensor:
    """Of the validation split, as the network gets them: float32 `(count, 3, 32, 32)`."""
    recipe = TrainingArguments(
        dataset_name=kit.claims.dataset,
        image_size=32,
        eval_crop_ratio=1.0,
        total_train_batch_size=16,
        per_device_eval_batch_size=count,
    )
    data = load_training_data(recipe, torch.device("cpu"), num_workers=0, process_index=0, num_processes=1)
    images: Tensor = next(iter(data.validation_loader))["pixel_values"]
    return images


@torch.no_grad()
def same_logits(kit: Kit, model: nn.Module, images: Tensor) -> Finding:
    """The CPU's logits in float32, and the device's in each precision and layout."""
    model = model.eval()
    expected = model.to("cpu").float()(images).logits
    choose_algorithms(RunOptions(cudnn_benchmark=False))
    model, on_device = model.to(kit.device), images.to(kit.device)
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    forms = {
        "float32": (None, (False, False)),
        "float32, TF32 as it is": (None, tf32),
        "fp16": (torch.float16, tf32),
        "bf16": (torch.bfloat16, tf32),
    }
    if kit.dry_run:
        del forms["fp16"]
    differences: Finding = {}
    top1: Finding = {}
    try:
        for form, (dtype, (matmul, cudnn)) in forms.items():
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
            for layout, memory_format in (("", torch.contiguous_format), (", channels last", torch.channels_last)):
                network = model.to(memory_format=memory_format)
                with torch.autocast(kit.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
                    logits = network(on_device.contiguous(memory_format=memory_format)).logits.float().cpu()
                differences[form + layout] = (logits - expected).abs().max().item()
                top1[form + layout] = (logits.argmax(-1) == expected.argmax(-1)).float().mean().item()
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
    return {
        "holds": differences["float32"] <= SAME_LOGITS and differences["float32, channels last"] <= SAME_LOGITS,
        "greatest difference": differences,
        "greatest logit": expected.abs().max().item(),
        "same class": top1,
        "tf32 as it is": dict(zip(("matmul", "cudnn"), tf32)),
    }


def random_model_logits(kit: Kit) -> Finding:
    """A ResNet-50 of 1000 classes at 224 pixels."""
    torch.manual_seed(0)
    images = torch.randn(*((2, 3, 64, 64) if kit.dry_run else (8, 3, 224, 224)))
    model = ResNet50ForImageClassification(ResNet50Config(num_labels=1000, **(TOY if kit.dry_run else {})))
    return same_logits(kit, as_if_trained(model, images), images)


def trained_model_logits(kit: Kit) -> Finding:
    """The run's own."""
    return same_logits(kit, load_model(str(kit.run("half") / "best"))[0], digit_images(kit, 64))


@torch.no_grad()
def onnx_from_the_device(kit: Kit) -> Finding:
    """The project's export of a model that is on the device, run by ONNX Runtime."""
    import onnxruntime

    model, processor = load_model(str(kit.run("half") / "best"))
    model = model.to(kit.device).eval()
    folder = kit.scratch / "onnx"
    folder.mkdir()
    exporting = time.monotonic()
    try:
        export_onnx(model, processor, folder)
        refused = None
    except Exception as error:  # of the exporter, of any kind
        refused = " ".join(str(error).split())[:300]
        export_onnx(copy.deepcopy(model).to("cpu"), processor, folder)
    seconds = time.monotonic() - exporting
    images = digit_images(kit, 16)
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    expected = model(images.to(kit.device)).logits.float().cpu()
    torch.backends.cudnn.allow_tf32 = tf32
    offered = onnxruntime.get_available_providers()
    differences = {}
    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        if provider in offered:
            session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=[provider])
            (logits,) = session.run(["logits"], {"pixel_values": images.numpy()})
            differences[provider] = (torch.from_numpy(logits) - expected).abs().max().item()
    return {
        "holds": differences["CPUExecutionProvider"] <= SAME_LOGITS and refused is None,
        "from the device": "exported" if refused is None else refused,
        "greatest difference": differences,
        "providers": offered,
        "seconds to export": round(seconds, 1),
    }


def examine_in_this_process(kit: Kit) -> None:
    """What needs no run. It has been seen to hold, and is seen again if there is time."""
    for how in ("the loss scale", "the images"):
        for title, optim_args in (("", None), (", optimizer not fused", {"foreach": True})):
            kit.claim(f"overflow by {how}{title}", lambda how=how, args=optim_args: overflow(kit, how, args))
    kit.claim("logits of a random model", lambda: random_model_logits(kit))
    kit.claim("gradient of the stem's weights", lambda: stem_gradients(kit))
    modes: dict[str, tuple[int, dict[str, Any]]] = {"deterministic": (64, {"full_determinism": True})}
    modes |= {"autotuned": (56, {"cudnn_benchmark": True}), "not autotuned": (64, {"cudnn_benchmark": False})}
    for mode, (batch_size, algorithms) in modes.items():
        kit.claim(f"a step thrice, {mode}", lambda b=batch_size, a=algorithms: differing_operations(kit, b, **a))


def examine_all(claims: Claims) -> None:
    """The runs, two at a time, first what no GPU has shown yet; then what this process finds out."""
    kit = Kit(claims)
    begin_importing()
    half = "digits fp16" if not kit.dry_run else "digits bf16, first"

    here = threading.Lock()  # what this process computes changes how it computes, for all its threads

    def task(name: str, examine: Callable[..., Finding], *arguments: str, needs: tuple[str, ...] = ()) -> Task:
        return Task(name, lambda: examine(kit, *arguments), frozenset(needs))

    def task_here(name: str, examine: Callable[[Kit], Finding], *needs: str) -> Task:
        def examine_alone() -> Finding:
            with here:
                return examine(kit)

        return Task(name, examine_alone, frozenset(needs))

    tasks = [
        task(half, digits, "half", kit.precision),
        task("compiled", compiled, needs=(half,)),
        task("frozen and clipped", frozen, needs=(half,)),
        task("taught", taught, needs=(half,)),
        task("benchmark", benchmarked, needs=(half,)),
        task("compiled, on without", on_without_compiling, needs=("compiled",)),
        task("not compiled, on with it", on_compiling, needs=("compiled",)),
        task("killed and resumed", killed_and_resumed),
        task("the same run twice", same_twice),
        task("evaluate", evaluated, needs=(half,)),
        task("inspect", inspected, needs=(half,)),
        task_here("logits of a trained model", trained_model_logits, half),
        task_here("ONNX", onnx_from_the_device, half),
        task("digits bf16", digits, "bf16", "bf16", "--profile_steps", "3-5"),
        task("profile", profiled, needs=("digits bf16",)),
    ]
    claims.claim_side_by_side(tasks, AT_ONCE)
    examine_in_this_process(kit)


def main(arguments: list[str] | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    return examine_part("right", __doc__, 140.0, examine_all, arguments)


if __name__ == "__main__":
    sys.exit(main())
