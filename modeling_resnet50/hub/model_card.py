"""
The model card, made from the run's own records: no number in it is typed by hand. Its words are in model_card.md.

Names that come from elsewhere stand in the YAML as `one_line`, and in the text as `code`, or as `one_line` within a
line of a block of code, where they are no markup.
"""

import math
import re
import statistics
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Template
from transformers import PreTrainedModel

from resnet50_recipe.durations import duration
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.words import says_something

from ..configuration_resnet50 import ResNet50Config
from ..data.class_names import imagenet_names, names_of
from ..data.decoding import IMAGE_MODES
from ..data.preprocessing import Preprocessing
from ..training.trained_model import TrainedModel
from .eval_results import in_terms_of_the_hub, is_on_hub, leaderboard_file, leaderboard_yaml
from .footprint import GRID_INTENSITY, PUE, Footprint, assumed_power, estimate_footprint, session_of
from .markdown import code, one_line


CURVES_FILE = "training_curves.png"
METRICS_FILE = "training_metrics.jsonl"
RECIPE_FILE = "recipe.yaml"

_SOMEWHERE = "path/to/this/folder"
_MOST_CLASSES = 10  # that are named
_LONGEST_CHANGE = 200  # characters
# Fields of the configuration that are no architecture: they matter in training only, or say how images are prepared.
_NO_ARCHITECTURE = (
    "zero_init_residual",
    "drop_path_rate",
    "batch_norm_momentum",
    "pretrained_cfg",
    "confidence_threshold",
    "model_type",
)
_OVER_CLASSES = {
    "val_balanced_accuracy": "balanced accuracy",
    "val_macro_precision": "macro precision",
    "val_macro_recall": "macro recall",
    "val_macro_f1": "macro F1",
    "val_weighted_precision": "weighted precision",
    "val_weighted_recall": "weighted recall",
    "val_weighted_f1": "weighted F1",
    "val_cohen_kappa": "Cohen's kappa",
}
_IN_WORDS = {"val_top1": "top-1 accuracy", "val_top5": "top-5 accuracy", "val_loss": "loss", **_OVER_CLASSES}
_SHOWN_OVER_CLASSES = ("val_balanced_accuracy", "val_macro_precision", "val_macro_f1", "val_cohen_kappa")
# What has to be given again where it was a path: of that, the published recipe holds only the last name.
_PATHS = {
    "dataset_name": "PATH/TO/THE/IMAGES",
    "model_name_or_path": "PATH/TO/THE/FIRST/WEIGHTS",
    "teacher": "PATH/TO/THE/TEACHER",
}


def card_text(
    model: PreTrainedModel,
    trained: TrainedModel,
    both_protocols: dict[str, Any] | None = None,
    threshold: dict[str, Any] | None = None,
) -> str:
    """
    The card of a model, a README.md with its front matter.

    Args:
        model: unwrapped.
        trained: what its run has to say of it.
        both_protocols: as for `renew_card`.
        threshold: `confidence_threshold` of the configuration.
    """
    config: Any = model.config  # what transformers annotates as if it could be missing
    accuracies = _accuracies(trained, config.num_labels)
    footprint = estimate_footprint(trained.history, trained.sessions)
    metadata = _metadata(trained, config, accuracies, footprint)
    return template().render(
        card_data=metadata.to_yaml(),
        recipe=trained.recipe,
        session=_session_of(trained),
        sessions=trained.sessions,
        epoch=trained.weights.epoch,
        outlook=trained.outlook,
        last_row=trained.history[-1],
        curves_file=CURVES_FILE,
        metrics_file=METRICS_FILE,
        recipe_file=RECIPE_FILE,
        **_what_it_is(model, trained.recipe),
        **_how_well_it_does(trained, accuracies),
        both_protocols=both_protocols and {**both_protocols, "dataset": code(both_protocols["dataset"])},
        threshold=threshold and {**threshold, "dataset": code(threshold["dataset"])},
        **_how_it_came_about(trained),
        **_what_it_cost(footprint, trained.sessions),
    )


@cache
def template() -> Template:
    """Compiling it takes longer than all else about a card, and a run writes one each time it is at its best."""
    return Template(files(__package__).joinpath("model_card.md").read_text(encoding="utf-8"))


def _session_of(trained: TrainedModel) -> dict[str, Any]:
    """The start of the run that the weights come from, as far as it is known."""
    return session_of(trained.weights.epoch, trained.sessions) or trained.sessions[0]


def _what_it_is(model: PreTrainedModel, recipe: TrainingArguments) -> dict[str, Any]:
    config: Any = model.config
    settings, repository = recipe.public_dict(), recipe.hub_model_id
    teachers = settings["teacher"] or []
    class_names = names_of(model)
    others = differences(config, ResNet50Config())
    image_mode = IMAGE_MODES[recipe.num_channels]
    return {
        "name": _name(recipe),
        "location": repository or _SOMEWHERE,
        "repository": repository,
        "architecture": _architecture(config),
        "differences": others,
        "parameters": model.num_parameters(),
        "dataset": code(settings["dataset_name"]),
        "first_weights": None if recipe.model_name_or_path is None else code(settings["model_name_or_path"]),
        "teacher": " and ".join(map(code, [teachers] if isinstance(teachers, str) else teachers)),
        "num_labels": config.num_labels,
        "class_names": [code(class_name) for class_name in class_names[:_MOST_CLASSES]],
        "is_timms": "architecture" in config.to_dict(),
        "is_resnet50": not others,
        "is_imagenet": set(class_names) <= imagenet_names(),
        "base_model": _hub_model(recipe.model_name_or_path),
        "image_mode": image_mode,
        "opened": 'Image.open("image.jpg")' + ("" if image_mode == "RGB" else f'.convert("{image_mode}")'),
    }


def _how_well_it_does(trained: TrainedModel, accuracies: dict[str, float]) -> dict[str, Any]:
    recipe, num_images = trained.recipe, _session_of(trained)["num_validation_images"]
    best_score, _ = recipe.best_of(trained.history)
    is_best = recipe.score(trained.row, trained.weights) == best_score
    with_intervals = [_with_interval(title, value, num_images) for title, value in accuracies.items()]
    return {
        "accuracies": with_intervals,
        "over_classes": _over_classes(trained, digits=with_intervals[0][-1] if with_intervals else 0),
        "loss": trained.result("val_loss"),
        "split": None if recipe.validation_split_name is None else code(recipe.validation_split_name),
        "preprocessing": Preprocessing.from_recipe(recipe),
        "average": _average(recipe) if trained.weights.averaged else None,
        "chosen_by": _IN_WORDS[recipe.metric_for_best_model] if is_best else None,
    }


def _how_it_came_about(trained: TrainedModel) -> dict[str, Any]:
    history = trained.history
    speed = statistics.median(row["images_per_second"] for row in history)
    changes = TrainingArguments(**trained.recipe.public_dict()).changes_since({})
    return {
        "changes": "\n".join(one_line(change, _LONGEST_CHANGE) for change in changes),
        "commands": "\n".join(_commands(trained.recipe, _session_of(trained))),
        "bad_images": max(row["bad_images"] for row in history),
        "hardware": _hardware(trained.sessions),
        "duration": duration(history[-1]["seconds"]),
        "images_per_second": f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}",
    }


def _what_it_cost(footprint: Footprint | None, sessions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "energy": None if footprint is None else _amount(footprint.energy, "Wh"),
        "co2": None if footprint is None else _amount(footprint.co2, "g"),
        "assumed_power": assumed_power(sessions),
        "pue": PUE,
        "grid_intensity": GRID_INTENSITY,
    }


def _metadata(
    trained: TrainedModel, config: Any, accuracies: dict[str, float], footprint: Footprint | None
) -> ModelCardData:
    """What the Hub itself reads of a card, to find, show and compare models."""
    recipe = trained.recipe
    base_model = _hub_model(recipe.model_name_or_path)
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Image Classification",
            **in_terms_of_the_hub(recipe.dataset_name),
            dataset_config=None if recipe.dataset_config_name is None else one_line(recipe.dataset_config_name),
            dataset_split=one_line(recipe.validation_split_name or "validation"),
            metric_type="accuracy",
            metric_name=f"{title} accuracy",
            metric_value=round(value, 6),
        )
        for title, value in accuracies.items()
    ]
    emissions = None
    if footprint is not None:
        emissions = {
            "emissions": round(1000 * footprint.co2, 3),  # grams
            "source": "estimated from training time, nominal power and the world's average electricity",
            "training_type": "fine-tuning" if recipe.model_name_or_path else "pre-training",
            "hardware_used": one_line(_hardware(trained.sessions)),
        }
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        license="apache-2.0",
        tags=["image-classification", "resnet", "resnet50", "pytorch"]
        + (["timm"] if "architecture" in config.to_dict() else []),
        datasets=[recipe.dataset_name] if is_on_hub(recipe.dataset_name) else None,
        metrics=["accuracy"],
        base_model=base_model,
        base_model_relation="finetune" if base_model else None,
        model_name=_name(recipe),
        eval_results=results or None,
        co2_eq_emissions=emissions,
    )


def eval_results(trained: TrainedModel) -> dict[str, str]:
    """
    Top-1 for the leaderboards of data sets: a file's content, by its path in the repository.

    Returns:
        Nothing if the data set is not one of the Hub's, or the result is of a part of it, or not a number.
    """
    recipe, top1 = trained.recipe, trained.result("val_top1")
    if not is_on_hub(recipe.dataset_name) or recipe.max_eval_samples is not None or not math.isfinite(top1):
        return {}
    config = None if recipe.dataset_config_name is None else one_line(recipe.dataset_config_name)
    flip = ", mean of the image and its mirror image" if recipe.eval_flip else ""
    notes = f"one central crop of {recipe.eval_image_size or recipe.image_size} pixels{flip}"
    return {leaderboard_file(recipe.dataset_name): leaderboard_yaml(recipe.dataset_name, config, top1, notes)}


def _with_interval(title: str, accuracy: float, num_images: int) -> tuple[str, float, float, float, int]:
    """A row of the card: the last number is how many digits of the per cents to show."""
    from ..evaluation.statistics import accuracy_interval, allowed_digits  # with scipy, for who writes a card

    low, high = accuracy_interval(accuracy, num_images)
    return title, accuracy, low, high, allowed_digits({"low": low, "high": high}, num_images)


def _over_classes(trained: TrainedModel, digits: int) -> dict[str, str]:
    """
    Scores of the classes' precision and recall, in words; those that metrics.jsonl has, which of old ones is none.

    Args:
        digits: of per cents, as top-1 has them.
    """
    chosen_by = trained.recipe.metric_for_best_model
    columns = [column for column in _OVER_CLASSES if column in (*_SHOWN_OVER_CLASSES, chosen_by)]
    values = {column: trained.row.get(trained.weights.column(column), math.nan) for column in columns}
    return {
        _OVER_CLASSES[column]: f"{value:.{digits + 2}f}" if column == "val_cohen_kappa" else f"{value:.{digits}%}"
        for column, value in values.items()
        if math.isfinite(value)
    }


def _accuracies(trained: TrainedModel, num_labels: int) -> dict[str, float]:
    """Top-1, and top-5 where that is not always right; nothing that is not a number."""
    titles = {"top-1": "val_top1"} | ({"top-5": "val_top5"} if says_something(5, num_labels) else {})
    found = {title: float(trained.result(column)) for title, column in titles.items()}
    return {title: value for title, value in found.items() if math.isfinite(value)}


def _name(recipe: TrainingArguments) -> str:
    """The repository's, or one made of the data set's."""
    if recipe.hub_model_id:
        return recipe.hub_model_id.split("/")[-1]
    plain = unicodedata.normalize("NFKD", recipe.public_dict()["dataset_name"].lower())  # ä is then a, and two dots
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    slug = re.sub("[^a-z0-9]+", "-", letters).strip("-")
    return f"resnet50-{slug[:60]}" if slug else "resnet50"


def _hub_model(name_or_path: str | None) -> str | None:
    """The Hub's id of a model that a run started from, if it has one."""
    if name_or_path is None:
        return None
    if name_or_path.startswith("timm:"):
        from timm.models import get_pretrained_cfg

        known = get_pretrained_cfg(name_or_path.removeprefix("timm:"))
        return None if known is None else known.hf_hub_id
    return name_or_path if "/" in name_or_path and is_on_hub(name_or_path) else None


def _architecture(config: ResNet50Config) -> str:
    """ResNet-50, or what it is called by the number of its layers: convolutions on the longest way, and classifier."""
    layers = sum(config.depths) * (3 if config.layer_type == "bottleneck" else 2) + 2
    stride = (
        "v1, with the stride in the 1×1" if config.downsample_in_bottleneck else "v1.5, with the stride in the 3×3"
    )
    return f"ResNet-{layers} (He et al. 2016; {stride} convolutions)"


def differences(config: ResNet50Config, other: ResNet50Config) -> dict[str, Any]:
    """Fields of an architecture that are otherwise in another one."""
    names = [name for name in ResNet50Config.__annotations__ if name not in _NO_ARCHITECTURE]
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(other, name)}


def _average(recipe: TrainingArguments) -> str:
    if recipe.swa_start_epoch is not None:
        return f"the mean of those after each epoch from {recipe.swa_start_epoch} on (SWA)"
    every = "step" if recipe.ema_every_steps == 1 else f"{recipe.ema_every_steps} steps"
    return f"an exponential moving average (EMA, decay {recipe.ema_decay:g} every {every}) of those that were trained"


def _hardware(sessions: list[dict[str, Any]]) -> str:
    """Once if it was the same from the first epoch on, else for each start of the run."""
    described = {session["first_epoch"]: _machine(session) for session in sessions}
    if len(set(described.values())) == 1 and 1 in described:
        return next(iter(described.values()))
    return "; ".join(f"from epoch {epoch} on {machine}" for epoch, machine in described.items())


def _machine(session: dict[str, Any]) -> str:
    processes, cores = session["num_processes"], session["cpu_cores"]
    machines = f" on {session['num_machines']} machines" if session["num_machines"] > 1 else ""
    many = f"{processes} processes" if processes > 1 else "one process"
    cpu = f"{cores} CPU cores ({session['cpu']})"
    if session["device_type"] == "cpu":
        return f"{cpu}, {many}{machines}"
    devices = " and ".join(f"{count} × {name}" for name, count in session["devices"].items())
    return f"{devices}, {many}{machines}, {cpu}"


def _commands(recipe: TrainingArguments, session: dict[str, Any]) -> list[str]:
    """What trains this again: the published recipe, and beside it what belongs to the machine or was not published."""
    repository = recipe.hub_model_id
    lines = [f"git checkout {session['git']['commit']}"] if session["git"] else []
    recipe_file = f"{_SOMEWHERE}/{RECIPE_FILE}"
    if repository:
        lines.append(f"hf download {repository} {RECIPE_FILE} --local-dir .")
        recipe_file = RECIPE_FILE
    launch = "python"
    if session["num_processes"] > 1:
        launch = f"accelerate launch --multi_gpu --num_processes {session['num_processes']}"
    if session["num_machines"] > 1:
        launch += f" --num_machines {session['num_machines']} --machine_rank RANK --main_process_ip ADDRESS"
    if session["device_type"] == "cpu":
        launch = f"ACCELERATE_USE_CPU=true {launch}"
    published = recipe.public_dict()
    options = [f"--{name} {path}" for name, path in _PATHS.items() if published[name] != getattr(recipe, name)]
    if recipe.mixed_precision in (None, "auto"):
        options.append(f"--mixed_precision {session['mixed_precision']}")
    return [*lines, " ".join([launch, "train.py --config", recipe_file, *options])]


def _amount(thousands: float, unit: str) -> str:
    """Three digits, of thousands of the unit or of the unit itself."""
    number, prefix = (thousands, "k") if thousands >= 1 else (1000 * thousands, "")
    return f"{number:,.0f} {prefix}{unit}" if number >= 100 else f"{number:.3g} {prefix}{unit}"
