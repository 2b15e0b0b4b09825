"""Which parts of the network learn, from when on, and how fast against the others."""

from torch import nn

from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


_CLASSIFIER = "fc."
# One layer for the stem, one for each block, and one for what is left, the classifier: as timm's ResNet has them.
_LAYERS = {"stem": r"^(?:conv1|bn1)\.", "blocks": r"^layer(\d+)\.(\d+)\."}


def frozen_parts(model: nn.Module, recipe: Recipe, epoch: int) -> list[nn.Module]:
    """
    The parts of a network that keep their weights in an epoch, from the stem upwards.

    Args:
        model: unwrapped, with the attributes of a ResNet.
        recipe: `freeze_stages`, `unfreeze_epochs`.
        epoch: counted from 1.

    Raises:
        UserError: the network has no such stage, or more are to learn again than are frozen.
    """
    if recipe.freeze_stages is None:
        return []
    stages = [module for name, module in model.named_children() if name.startswith("layer")]
    parts = [[model.get_submodule("conv1"), model.get_submodule("bn1")], *([stage] for stage in stages)]
    frozen = len(parts)
    if recipe.freeze_stages != "backbone":
        frozen = 1 + int(recipe.freeze_stages.removeprefix("stage").replace("stem", "0"))
    if frozen > len(parts):
        raise UserError(f"freeze_stages {recipe.freeze_stages}: the network has {len(stages)} stages")
    freed = recipe.unfreeze_epochs or []
    if len(freed) > frozen:
        raise UserError(
            f"unfreeze_epochs has {len(freed)} epochs, but freeze_stages holds {frozen} parts of the network"
        )
    frozen -= sum(after < epoch for after in freed)
    return [module for part in parts[:frozen] for module in part]


def freeze_for_good(model: nn.Module, recipe: Recipe) -> None:
    """
    No gradients for what is still frozen in the last epoch. To be called before optimizer and DDP take the parameters.
    What learns later has its gradients from the start, so that both know it; see `forget_gradients`.
    """
    for part in frozen_parts(model, recipe, recipe.num_train_epochs):
        part.requires_grad_(False)


def learning_parameters(model: nn.Module) -> int:
    """How many numbers ever learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def forget_gradients(parts: list[nn.Module]) -> None:
    """Of frozen parts: the optimizer passes over parameters that have none, with all that it does to others."""
    for part in parts:
        for parameter in part.parameters():
            parameter.grad = None


def learning_rate_scales(model: nn.Module, recipe: Recipe) -> dict[str, float]:
    """
    By which each parameter's learning rate is multiplied: as in timm's `param_groups_layer_decay`, `layer_decay` to
    the power of the layers above it, where a block is a layer; and the classifier's by `head_learning_rate_factor`.

    Returns:
        For each name of a parameter. Empty: all learn alike.
    """
    if recipe.layer_decay is None and recipe.head_learning_rate_factor == 1:
        return {}
    from timm.models import group_parameters  # which others do not wait for

    layers = group_parameters(model, _LAYERS, reverse=True)
    last, decay = max(layers.values()), 1.0 if recipe.layer_decay is None else recipe.layer_decay
    return {
        name: decay ** (last - layer) * (recipe.head_learning_rate_factor if name.startswith(_CLASSIFIER) else 1.0)
        for name, layer in layers.items()
    }
