"""The mean of several models' weights: of checkpoints of a run, or of models fine-tuned from the same one (a soup)."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelCardData

from resnet50_recipe.errors import UserError

from ..data.class_names import names_of
from ..data.preprocessing import Preprocessing
from ..modeling_resnet50 import ResNet50ForImageClassification
from ..training.manifest import damage, sha256
from ..training.numerics import is_finite
from ..training.progress import read_state
from .eval_results import is_on_hub
from .markdown import code, one_line
from .model_card import differences
from .model_folder import image_processor, load_our_model, save_model_and_processor
from .weights import StateDict, check_fit, read_weights


@dataclass(frozen=True)
class Member:
    """
    One of the models.

    Attributes:
        name: as it was asked for.
        weights: which ones, in words.
        sha256: of their file; None: it is on the Hub.
    """

    name: str
    weights: str
    sha256: str | None


@dataclass(frozen=True)
class _Opened:
    member: Member
    model: ResNet50ForImageClassification
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Average:
    """A mean, in evaluation mode, what it is of, and how it takes its images."""

    model: ResNet50ForImageClassification
    members: list[Member]
    preprocessing: Preprocessing


def average(sources: list[str], use_ema: bool = False) -> Average:
    """
    The arithmetic mean, as of timm's `avg_checkpoints.py` and model soups (Wortsman et al. 2022): summed in 64 bits,
    one model at a time, and kept in their precision. Of BatchNorm's statistics too; of its counts of batches, the
    largest.

    Args:
        sources: folders or ids on the Hub of models, or folders of checkpoints, which lie in their run.
        use_ema: of checkpoints, the average of weights that they hold.

    Raises:
        UserError: fewer than two, nothing there, damage, weights that are not finite, or models that differ in
            anything but their weights.
    """
    if len(sources) < 2:
        raise UserError("the average of one model is that model: give several")
    opened = _open_all(sources, use_ema)
    first = next(opened)
    members, total = [first.member], _sums({}, first.model)
    for other in opened:
        _check_alike(other, first)
        members.append(other.member)
        total = _sums(total, other.model)
    mean = {name: value / len(members) if value.is_floating_point() else value for name, value in total.items()}
    first.model.load_state_dict(mean)  # which rounds to the model's precision
    first.model.config.confidence_threshold = None  # it was for the weights before
    return Average(first.model, members, first.preprocessing)


def _sums(total: StateDict, model: torch.nn.Module) -> StateDict:
    sums = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            sums[name] = value.double() + total.get(name, 0.0)
        else:
            sums[name] = torch.maximum(value, total.get(name, value))
    return sums


def _open_all(sources: list[str], use_ema: bool) -> Iterator[_Opened]:
    for source in sources:
        folder = Path(source).expanduser()
        is_checkpoint = (folder / "state.json").is_file()
        if use_ema and not is_checkpoint:
            raise UserError(f"--use_ema is about checkpoints, which hold both, and {source} is none")
        place = str(_model_beside(folder)) if is_checkpoint else source
        model, processor = load_our_model(place, dtype="auto")
        words, file = "as they were saved", folder / "model.safetensors"
        if is_checkpoint:
            words, file = _weights_of(folder, use_ema)
            state, _ = read_weights(file)
            check_fit(state, model.state_dict(), source)
            model.load_state_dict(state)
        if not is_finite(model):
            raise UserError(f"{source}: some of its weights are not finite")
        member = Member(source, words, sha256(file) if file.is_file() else None)
        yield _Opened(member, model.eval(), Preprocessing.from_processor(processor, source))


def _model_beside(checkpoint: Path) -> Path:
    """A model of the checkpoint's run, which says what its classes are."""
    problem = damage(checkpoint)
    if problem is not None:
        raise UserError(f"{checkpoint}: {problem}")
    run = checkpoint.resolve().parent.parent
    for name in ("best", "final"):
        if (run / name / "config.json").is_file():
            return run / name
    raise UserError(
        f"{checkpoint} does not know its classes, and its run has neither best/ nor final/: leave it where it was "
        "written"
    )


def _weights_of(checkpoint: Path, use_ema: bool) -> tuple[str, Path]:
    progress = read_state(checkpoint)["progress"]
    words = f"after {progress['step']:,} steps, in epoch {progress['epoch'] + 1}"
    if not progress["images"]:
        words = f"after {progress['step']:,} steps, at the end of epoch {progress['epoch']}"
    if not use_ema:
        return f"the weights {words}", checkpoint / "model.safetensors"
    if not (checkpoint / "average.safetensors").is_file():
        raise UserError(f"{checkpoint} has no average of the weights: its recipe has neither EMA nor SWA")
    return f"the average of the weights (EMA or SWA) {words}", checkpoint / "average.safetensors"


def _check_alike(other: _Opened, first: _Opened) -> None:
    """Raises: UserError, if there is no mean of the two models."""
    one, another = first.member.name, other.member.name
    for field, value in differences(other.model.config, first.model.config).items():
        wanted = getattr(first.model.config, field)
        raise UserError(f"{another} is of another architecture than {one}: {field} {value}, not {wanted}")
    if names_of(other.model) != names_of(first.model):
        raise UserError(f"{another} has other classes than {one}, or in another order")
    if other.preprocessing != first.preprocessing:
        raise UserError(f"{another} prepares its images otherwise than {one}: preprocessor_config.json says how")
    precisions = other.model.dtype, first.model.dtype
    if precisions[0] != precisions[1]:
        raise UserError(f"{another} is of {precisions[0]}, and {one} of {precisions[1]}: their mean has no precision")


def save_average(folder: Path, found: Average, recalibrated: str = "") -> None:
    """
    A model's folder like others, with a card that says what it is the mean of.

    Args:
        folder: exists, and is empty.
        recalibrated: what BatchNorm's statistics were measured on, in words; "": they are the mean of the models'.
    """
    save_model_and_processor(folder, found.model, image_processor(found.preprocessing))
    on_hub = [each.name for each in found.members if is_on_hub(each.name)]
    arguments: dict[str, Any] = {"base_model": on_hub, "base_model_relation": "merge"} if on_hub else {}
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=["image-classification", "resnet", "resnet50", "pytorch", "merge"],
        **arguments,
    )
    rows = [
        (one_line(each.name if each.name in on_hub else Path(each.name).resolve().name).replace("|", "\\|"), each)
        for each in found.members
    ]
    ModelCard.from_template(
        metadata,
        template_str=files(__package__).joinpath("average_card.md").read_text(encoding="utf-8"),
        members=rows,
        parameters=found.model.num_parameters(),
        num_labels=len(names_of(found.model)),
        image_size=found.preprocessing.image_size,
        recalibrated=code(recalibrated) if recalibrated else "",
    ).save(folder / "README.md")
