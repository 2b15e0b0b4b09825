"""How the device computes a step: by which algorithms, and compiled or as it is written."""

import os
from typing import Any, TypeVar

import torch
from accelerate.utils import DynamoBackend, TorchDynamoPlugin
from torch import nn

from resnet50_recipe.errors import UserError
from resnet50_recipe.run_options import RunOptions
from resnet50_recipe.training_arguments import TrainingArguments

from .losses import Criterion


ModelType = TypeVar("ModelType", bound=nn.Module)


def choose_algorithms(options: RunOptions) -> None:
    """
    What the device may choose by itself, for this whole process. To be called before anything runs on it.

    cuDNN's autotuning is on, as in timm's and torchvision's scripts: it takes the algorithm that is fastest today, so
    that two runs may differ in their last bits. `full_determinism` turns it off, and every algorithm whose sums depend
    on who comes first. TF32 stays as PyTorch has it: for convolutions in 32 bits, not for matrix products.

    Raises:
        UserError: compiling and `gradient_checkpointing` together.
    """
    if is_compiled(options) and options.gradient_checkpointing:
        raise UserError(
            "torch_compile decides by itself what the backward pass recomputes, and does not go together with "
            "gradient_checkpointing: leave one of them out"
        )
    benchmark = options.cudnn_benchmark
    torch.backends.cudnn.benchmark = not options.full_determinism if benchmark is None else benchmark
    torch.backends.cudnn.deterministic = options.full_determinism
    torch.use_deterministic_algorithms(options.full_determinism)
    # Nothing here reads what nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module
    if options.full_determinism:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used


def is_compiled(options: RunOptions) -> bool:
    """Whether the recipe or the launcher (`accelerate launch --dynamo_backend`) asks for it."""
    return options.torch_compile or TorchDynamoPlugin().backend != DynamoBackend.NO


def compiled_for_training(model: ModelType, criterion: Criterion, recipe: TrainingArguments) -> ModelType:
    """
    What the training step calls: the model as it is or, with `torch_compile` or the launcher's `--dynamo_backend`, a
    compiled form of it that has the same weights. Loss and teacher are compiled as well.

    The model itself is not wrapped: what is saved, loaded, averaged and evaluated has its own names and runs as it is
    written, so that ragged batches compile nothing. Each size of the images is compiled once, by its own numbers.

    Args:
        model: as `Accelerator.prepare` gives it: of DDP, dynamo compiles the parts between its buckets.
    """
    if not is_compiled(recipe):
        return model
    launcher = TorchDynamoPlugin()
    backend = "inductor" if launcher.backend == DynamoBackend.NO else launcher.backend.value.lower()
    mode = recipe.torch_compile_mode if launcher.mode == "default" else launcher.mode
    # Beyond this, dynamo would run what is new uncompiled, and say so in a log only. Images grow by 32 pixels.
    sizes = 1 if recipe.image_size_start is None else 2 + abs(recipe.image_size - recipe.image_size_start) // 32
    phases = 1 + len(set(recipe.unfreeze_epochs or []))  # by which parts are frozen
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, sizes * phases)
    settings: dict[str, Any] = {"dynamic": False, "backend": backend} | (
        {"mode": mode} if backend == "inductor" else {}
    )
    criterion.compile(**settings)
    compiled: Any = torch.compile(model, **settings)
    return compiled
