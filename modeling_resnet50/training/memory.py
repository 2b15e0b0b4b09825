"""What training needs of a device's memory, worked out from shapes before anything is trained."""

from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from resnet50_recipe.training_arguments import TrainingArguments

from .optimization import create_optimizer
from .shapes import shapes_alone
from .stages import freeze_for_good, learning_parameters


_RUNTIME = {"cuda": 2.0e9, "cpu": 0.7e9}  # bytes: CUDA's context, cuDNN's workspace, fragments; the libraries
_LIMIT_OF_A_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def runtime_bytes(device_type: str) -> float:
    """What is taken before there is a model."""
    return _RUNTIME.get(device_type, _RUNTIME["cuda"])


def model_bytes(model: PreTrainedModel, recipe: TrainingArguments, num_processes: int) -> float:
    """Of weights, gradients, optimizer and average, on a device."""
    learning = learning_parameters(model)
    numbers = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    buckets = 1 if num_processes > 1 else 0  # DDP copies gradients into buckets
    return 4 * (numbers * (2 if recipe.averages else 1) + learning * (1 + optimizer_states(recipe) + buckets))


def optimizer_states(recipe: TrainingArguments) -> float:
    """Numbers that the optimizer keeps for each parameter. Draws nothing that training would have drawn."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(8, 8, bias=False)
    optimizer = create_optimizer(layer, recipe)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    state = optimizer.state[layer.weight].values()
    return sum(value.numel() for value in state if isinstance(value, Tensor) and value.dim()) / layer.weight.numel()


def activation_bytes(model: PreTrainedModel, image_size: int, precision: str | None) -> int:
    """
    What the backward pass needs of one image's forward pass, beyond the weights.

    Args:
        model: on the meta device, in float32.
        precision: fp16, bf16, or None for one of them: 2 bytes a number. "no": 4.
    """
    seen: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage()._cdata] = tensor
        return tensor

    batch = 2  # BatchNorm wants more than one value
    with shapes_alone(model), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model.train()(
            torch.empty(batch, model.config.num_channels, image_size, image_size, device="meta")
        ).logits
        logits.sum()
    weights = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
    width = 4 if precision == "no" else 2
    kept = [tensor for storage, tensor in seen.items() if storage not in weights]
    return sum(t.numel() * (width if t.is_floating_point() else t.element_size()) for t in kept) // batch


def training_bytes(
    model: PreTrainedModel, recipe: TrainingArguments, num_processes: int, device_type: str, precision: str
) -> float:
    """
    Of all that one process holds while it trains.

    Args:
        model: only its configuration is used.
        precision: `"no"`, `"bf16"` or `"fp16"`.
    """
    with torch.device("meta"):
        shapes = type(model)(model.config)
    freeze_for_good(shapes, recipe)
    largest = max(recipe.image_size, recipe.image_size_start or 0)
    images = recipe.local_batch_size(num_processes)
    activations = images * activation_bytes(shapes, largest, precision)
    return model_bytes(shapes, recipe, num_processes) + activations + runtime_bytes(device_type)


def memory_here(device_type: str) -> float | None:
    """Bytes of a GPU, or of this machine or the container it is; None of other devices."""
    if device_type == "cuda" and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[1])
    if device_type != "cpu":
        return None
    limit = _LIMIT_OF_A_CONTAINER.read_text().strip() if _LIMIT_OF_A_CONTAINER.is_file() else "max"
    return min(float(psutil.virtual_memory().total), float(limit) if limit.isdigit() else float("inf"))
