"""Models of this library into the formats of others."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import BitImageProcessor, ResNetConfig, ResNetForImageClassification

from resnet50_recipe.errors import UserError
from resnet50_recipe.weights import Weights

from ..configuration_resnet50 import ResNet50Config
from ..modeling_resnet50 import ResNet50ForImageClassification
from ..training.run_folder import is_run, open_run
from ..training.trained_model import TrainedModel
from .model_folder import load_model, renew_card, require_plain_weights
from .weights import read_weights, to_transformers_resnet


def export_transformers(model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path) -> None:
    """
    Write a folder for `transformers.ResNetForImageClassification`, which needs no remote code.

    Raises:
        UserError: transformers' own ResNet has no such architecture.
    """
    config = model.config
    beyond = {
        "stem_type": config.stem_type != "imagenet",
        "avg_down": config.avg_down,
        "blur_pool": config.blur_pool,
        "output_stride": config.output_stride != 32,
        "global_pool": config.global_pool != "avg",
        "batch_norm_eps": config.batch_norm_eps != 1e-5,
        "batch_norm_folded": config.batch_norm_folded,
        "hidden_act": config.hidden_act != "relu",  # which it would take after the stem and the sums alone
    }
    if any(beyond.values()):
        names = ", ".join(f"{name}={getattr(config, name)!r}" for name, differs in beyond.items() if differs)
        raise UserError(f"transformers' own ResNet has no {names}")
    native = ResNetForImageClassification(as_resnet_config(config))
    nn.Module.to(native, model.dtype)
    native.load_state_dict(to_transformers_resnet(model.state_dict()))
    native.save_pretrained(folder)
    processor.save_pretrained(folder)


def save_descriptions(model: ResNet50ForImageClassification, processor: BitImageProcessor, folder: Path) -> None:
    """
    What lies beside a file that needs no class of transformers: `config.json` and `preprocessor_config.json`. The
    configuration is that of a ResNet by its family name, which transformers.js and optimum know without our code.
    """
    config = as_resnet_config(model.config)
    config.architectures = ["ResNetForImageClassification"]
    config.save_pretrained(folder)
    processor.save_pretrained(folder)


def as_resnet_config(config: ResNet50Config) -> ResNetConfig:
    """The configuration in terms of transformers' own ResNet, as far as it has them; and the threshold."""
    threshold = config.confidence_threshold
    ours: dict[str, Any] = {} if threshold is None else {"confidence_threshold": threshold}
    return ResNetConfig(
        **ours,
        num_channels=config.num_channels,
        embedding_size=config.embedding_size,
        hidden_sizes=config.hidden_sizes,
        depths=config.depths,
        layer_type=config.layer_type,
        hidden_act=config.hidden_act,
        downsample_in_bottleneck=config.downsample_in_bottleneck,
        id2label=config.id2label,
        label2id=config.label2id,
        problem_type=config.problem_type,
    )


def training_checkpoint(source: str, dtype: Literal["float32", "auto"] = "float32") -> dict[str, Any]:
    """
    The classic dictionary of a training script, for `torch.save`; made of tensors and plain values only, so that
    `torch.load(weights_only=True)` takes it.

    Args:
        source: `best/`, `final/` or `checkpoints/epoch-…/` of a run folder; or any other model, which has weights but
            no history.
        dtype: of the weights: float32, or "auto", as they were saved.

    Returns:
        `epoch`, `model_state_dict`, `optimizer_state_dict`, `scheduler_state_dict`, `val_acc`, `val_loss`,
        `train_acc`, `train_loss`. Accuracies are shares in [0, 1]. What the source does not know is None: the
        optimizer's state is kept at checkpoints only.

    Raises:
        UserError: there is no model there, or it is quantised.
    """
    folder = Path(source)
    is_checkpoint = folder.parent.name == "checkpoints"
    run = folder.parent.parent if is_checkpoint else folder.parent
    trained = trained_model_in(folder, run)
    row, weights = ({}, Weights(0)) if trained is None else (trained.row, trained.weights)
    checkpoint = folder if is_checkpoint else run / "checkpoints" / f"epoch-{row.get('epoch', 0):04d}"
    optimizer_file = checkpoint / "optimizer.pt"
    step = row.get("step")
    if is_checkpoint:
        state = read_weights(folder / "model.safetensors")[0]
    else:
        model, _ = load_model(source, dtype=dtype)
        require_plain_weights(model, source)
        state = model.state_dict()
    return {
        "epoch": row.get("epoch"),
        "model_state_dict": state,
        "optimizer_state_dict": torch.load(optimizer_file, map_location="cpu", weights_only=True)
        if optimizer_file.is_file()
        else None,
        "scheduler_state_dict": None if step is None else {"last_epoch": step, "_last_lr": [row["learning_rate"]]},
        "val_acc": row.get(weights.column("val_top1")),
        "val_loss": row.get(weights.column("val_loss")),
        "train_acc": row.get("train_top1"),
        "train_loss": row.get("train_loss"),
    }


def is_in_training(folder: Path) -> bool:
    """Whether a model lies in a run that trains now: it may have been replaced since it was opened."""
    run = folder.resolve().parent
    return is_run(run) and open_run(run)[0].stands() == "running"


def renew_card_of_run(folder: Path, both_protocols: dict[str, Any] | None = None) -> None:
    """
    Tell the card of a model in a run, which is made of the run's records, what is new; other models have none.

    Args:
        both_protocols: as for `renew_card`.
    """
    folder = folder.resolve()
    if not is_run(folder.parent) or not (folder / "README.md").is_file():
        return
    trained = trained_model_in(folder, folder.parent)
    assert trained is not None
    renew_card(folder, load_model(str(folder))[0], trained, both_protocols)


def trained_model_in(folder: Path, run: Path) -> TrainedModel | None:
    """What a run has to say of a model in its folder; None for a model without a run, or within an epoch."""
    if not (run / "metrics.jsonl").is_file():
        return None
    run_folder, recipe = open_run(run)
    if folder.name == "best":
        _, weights = run_folder.best_model(recipe)
    elif folder.name.startswith("final"):
        weights = Weights(run_folder.history()[-1]["epoch"], averaged=folder.name == "final_average")
    else:
        epochs = [row["epoch"] for row in run_folder.history() if folder.name == f"epoch-{row['epoch']:04d}"]
        weights = Weights(epochs[0] if epochs else 0)
    return run_folder.trained_model(recipe, weights) if weights.epoch else None
