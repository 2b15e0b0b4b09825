"""What a run needs from the machine, and what BatchNorm needs, also when several processes train one model."""

import os
import sys
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import (
    DDPCommunicationHookType,
    DistributedDataParallelKwargs,
    ProjectConfiguration,
    broadcast,
)
from torch import Tensor, nn
from transformers import PreTrainedModel

from resnet50_recipe.cores import available_cores
from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.run_options import RunOptions
from resnet50_recipe.terminal import say
from resnet50_recipe.training_arguments import TrainingArguments

from .averaging import freeze_batch_norm
from .kernels import choose_algorithms, is_compiled
from .precision import cpu_is_wanted, is_on_cpu, precision_here, remark_on
from .shapes import shapes_alone
from .tracking import check_trackers


MAX_DATA_WORKERS = 16  # unless the recipe says how many


def create_accelerator(recipe: TrainingArguments) -> Accelerator:
    """
    The `Accelerator` for a recipe, after checking that the machine can do what is asked.

    Raises:
        UserError: more processes than devices, fp16 without a GPU, or a tracker that is not installed.
    """
    processes_here = _processes_here()
    devices = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if processes_here > 1 and processes_here > devices and not cpu_is_wanted():
        raise UserError(
            f"{processes_here} processes were started on this machine, which has {devices} GPU(s): "
            f"start {max(1, devices)} with --num_processes {max(1, devices)}, "
            "or set ACCELERATE_USE_CPU=true to train on CPU"
        )
    on_cpu = is_on_cpu()
    precision = precision_here(recipe.mixed_precision, is_compiled(recipe))
    wanted = precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if wanted == "fp16" and on_cpu:
        raise UserError("mixed_precision fp16 needs a GPU: use --mixed_precision auto, which takes what is fast here")
    check_trackers(recipe.trackers)
    if on_cpu:
        torch.set_num_threads(num_threads())
    choose_algorithms(recipe)
    _meet_again(on_cpu)
    accelerator = Accelerator(
        mixed_precision=precision,
        dynamo_backend="no",  # `kernels` compiles: Accelerate's wrapper would put its own name before every weight's
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        log_with=recipe.trackers or None,
        project_config=ProjectConfiguration(recipe.output_dir, logging_dir=f"{recipe.output_dir}/logs"),
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                gradient_as_bucket_view=True,  # no second copy of the gradients
                comm_hook=DDPCommunicationHookType(recipe.gradient_compression or "no"),
            )
        ],
    )
    remark = remark_on(accelerator.mixed_precision)
    if remark is not None and accelerator.is_main_process:
        say(remark, file=sys.stderr)
    return accelerator


def num_threads() -> int:
    """
    In which this process computes on a CPU: its share of the cores, or as many as OMP_NUM_THREADS says, unless it is
    the single one that launchers leave to those who said nothing.
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    is_launched = "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    is_told = said.isdecimal() and int(said) > int(is_launched)
    return int(said) if is_told else _cores_per_process()


def _meet_again(on_cpu: bool) -> None:
    """
    Connect the processes that torchrun has started again. It keeps the store in which they find each other, with the
    addresses of the start before: whoever is early would connect to the dead. Here each start has keys of its own.
    """
    is_restart = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0
    if not is_restart or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or dist.is_initialized():
        return
    dist.init_process_group(
        "gloo" if on_cpu else "cuda:nccl,cpu:gloo",
        store=store_of_this_start("processes"),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def store_of_this_start(purpose: str) -> dist.Store:
    """
    A connection of its own to the store where the processes find each other, with keys that no other purpose has, and
    no start before this one.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.PrefixStore(f"{purpose}/{attempt}", dist.TCPStore(address, port, is_master=False))


def num_data_workers(options: RunOptions) -> int:
    """
    Worker processes for each of this training process's loaders: one for each of its cores, as more would only take
    turns, up to 16, since each takes memory for its batches.
    """
    if options.dataloader_num_workers is not None:
        return options.dataloader_num_workers
    return min(MAX_DATA_WORKERS, _cores_per_process())


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", 1)))


def _cores_per_process() -> int:
    return max(1, available_cores() // _processes_here())


def broadcast_buffers(model: nn.Module) -> None:
    """
    Give every process the BatchNorm statistics of process 0, which are the ones that are saved.

    DDP does this before each training forward pass, not after the last one.
    """
    for buffer in model.buffers():
        broadcast(buffer)


ModelType = TypeVar("ModelType", bound=nn.Module)


def synchronize_batch_norm(model: ModelType) -> ModelType:
    """BatchNorm over the images of all processes: `nn.SyncBatchNorm`, or on CPU, where that refuses, our own."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return model
    if next(model.parameters()).device.type != "cpu":
        converted: Any = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = CPUSyncBatchNorm2d
    return model


def check_images_fit(model: PreTrainedModel, recipe: Recipe, local_batch_size: int, num_processes: int = 1) -> None:
    """
    Let shapes without numbers run through the network as the recipe's images would.

    Args:
        model: only its configuration is used.
        local_batch_size: images that one of `num_processes` takes at once.

    Raises:
        UserError: the images are too small for a layer, or BatchNorm would see a single value of a channel, of which
            it can measure no variance.
    """
    with torch.device("meta"):
        shapes = type(model)(model.config)
    images = local_batch_size * num_processes if recipe.sync_batch_norm else local_batch_size
    smallest = min(recipe.image_size, recipe.image_size_start or recipe.image_size)
    looks = [(smallest, images, True)]  # what fits with fewer pixels fits with more
    if recipe.eval_image_size and recipe.eval_image_size < smallest:
        looks.append((recipe.eval_image_size, 1, False))
    for size, count, training in looks:
        shapes.train(training)
        if recipe.keeps_batch_norm:
            freeze_batch_norm(shapes)
        try:
            with torch.no_grad(), shapes_alone(shapes):
                shapes(torch.empty(count, model.config.num_channels, size, size, device="meta"))
        except ValueError as error:  # by a BatchNorm
            raise UserError(
                f"BatchNorm cannot train on {local_batch_size} image(s) of {size} pixels at a time, which its last "
                "layers see as a single pixel: a larger --total_train_batch_size, fewer processes or "
                "--gradient_accumulation_steps, --sync_batch_norm true over several processes, a larger --image_size, "
                "or --freeze_batch_norm true"
            ) from error
        except RuntimeError as error:
            reason = in_one_line(error)
            raise UserError(
                f"images of {size} pixels are too small for this network: a larger --image_size or --eval_image_size "
                f"({reason})"
            ) from error


class CPUSyncBatchNorm2d(nn.BatchNorm2d):
    """
    `nn.SyncBatchNorm`'s arithmetic with a differentiable all-reduce, for processes that train on CPU.

    Input and output `(batch, channels, height, width)`; all processes must hold equally many images.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        values = input.float()
        num_processes = dist.get_world_size()
        mean = _AllReduce.apply(values.mean((0, 2, 3))) / num_processes
        centred = values - mean[:, None, None]
        variance = _AllReduce.apply(centred.square().mean((0, 2, 3))) / num_processes  # two passes: no cancellation
        if self.track_running_stats:
            with torch.no_grad():
                count = num_processes * values.numel() / values.shape[1]
                mean_so_far, variance_so_far, batches = self.running_mean, self.running_var, self.num_batches_tracked
                assert mean_so_far is not None
                assert variance_so_far is not None
                assert batches is not None
                assert self.momentum is not None, "a cumulative mean is not what BatchNorm is built with here"
                mean_so_far.lerp_(mean, self.momentum)
                variance_so_far.lerp_(variance * count / (count - 1), self.momentum)  # unbiased, as BatchNorm keeps it
                batches.add_(1)
        scale = self.weight / torch.sqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)


class _AllReduce(torch.autograd.Function):
    """Sum over all processes. Each process's value feeds every process's sum, so the gradients are summed as well."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
