"""
Results of an evaluation as the Hub reads them: `model-index` in a card's front matter, and `.eval_results/*.yaml`.
"""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from resnet50_recipe.words import says_something
from resnet50_recipe.yaml_text import to_yaml

from ..files import replaced_file
from .markdown import one_line


_METRICS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}
_FOLDER = "imagefolder"  # what transformers' examples call data that has no id


def write_eval_results(folder: Path, model_name: str, dataset: dict[str, Any], result: dict[str, Any]) -> list[Path]:
    """
    Write what belongs into a model's repository.

    Args:
        folder: gets `model-index.yaml`, to be put between the `---` of the model's README.md; and, if the data is on
            the Hub, `.eval_results/NAME.yaml`, to be copied beside it as it is.
        model_name: as the card calls the model.
        dataset, result: `dataset` and one of `models` of a results.json, see `evaluation.results`.

    Returns:
        The files.
    """
    shown = {key: name for key, name in _METRICS.items() if key == "top1" or says_something(5, result["num_labels"])}
    card_data = ModelCardData(
        model_name=model_name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                **in_terms_of_the_hub(dataset["name"]),
                dataset_config=dataset["config"],
                dataset_split=dataset["split"],
                metric_type="accuracy",
                metric_name=name,
                metric_value=round(result[key]["value"], 6),
            )
            for key, name in shown.items()
        ],
    )
    files = [folder / "model-index.yaml"]
    with replaced_file(files[0]) as file:
        file.write_text(card_data.to_yaml() + "\n", encoding="utf-8")
    if is_on_hub(dataset["name"]):
        notes = f"{protocol_in_words(result)}; {result['images']:,} images of {dataset['split']}"
        files.append(folder / leaderboard_file(dataset["name"]))
        with replaced_file(files[1]) as file:
            text = leaderboard_yaml(dataset["name"], dataset["config"], result["top1"]["value"], notes)
            file.write_text(text, encoding="utf-8")
    return files


def is_on_hub(dataset_name: str) -> bool:
    """As far as its name tells: data sets of old have no user in it."""
    try:
        validate_repo_id(dataset_name)
    except HFValidationError:
        return False
    return dataset_name != "digits" and not Path(dataset_name).expanduser().exists()


def in_terms_of_the_hub(dataset_name: str) -> dict[str, Any]:
    """`dataset_type` and `dataset_name` of an `EvalResult`. The type is an id, and no path is of use to others."""
    if is_on_hub(dataset_name) or dataset_name == "digits":
        return {"dataset_type": dataset_name, "dataset_name": dataset_name}
    folder = Path(dataset_name).expanduser().resolve().name
    return {"dataset_type": _FOLDER, "dataset_name": one_line(folder) or _FOLDER}


def leaderboard_file(dataset_id: str) -> str:
    """Where a model's repository has its result on a data set."""
    return f".eval_results/{dataset_id.replace('/', '--')}.yaml"


def leaderboard_yaml(dataset_id: str, config: str | None, top1: float, notes: str) -> str:
    """
    The content of that file, from which the Hub makes the leaderboards of data sets.

    Args:
        config: of the data set, by which its task is called.
        top1: a share; it is written in per cent, as others have it there.
        notes: on how it was measured.
    """
    value, notes = round(100 * top1, 4), f"top-1 accuracy in per cent; {notes}"
    entry = EvalResultEntry(dataset_id=dataset_id, task_id=config or "default", value=value, notes=notes)
    return to_yaml(eval_result_entries_to_yaml([entry]), width=80)


def protocol_in_words(result: dict[str, Any]) -> str:
    """`256 → 224 pixels, bilinear, as timm, with mirror images`, of one of `models` of a results.json."""
    protocol = result["protocol"]
    flip = ", with mirror images" if protocol["flip"] else ""
    dtype = f", weights in {protocol['dtype']}" if protocol["dtype"] not in ("float32", None) else ""
    stored = ", as stored (EXIF orientation ignored)" if protocol.get("exif_orientation") == "ignore" else ""
    shape = {"squash": ", squashed", "pad": ", padded"}.get(protocol.get("crop_mode"), "")
    sizes = f"{protocol['resize_size']} → {protocol['image_size']} pixels{shape}"
    return f"{sizes}, {protocol['interpolation']}, as {protocol['library']}{stored}{flip}{dtype}"


def both_in_words(result: dict[str, Any]) -> str:
    """`top-1 76.10% (-0.03 points, -0.10 to +0.05)`: by transformers, and how that differs from timm."""
    other = result["by_transformers"]
    value, low, high = (f"{100 * other['top1_difference'][name]:+.2f}" for name in ("value", "low", "high"))
    return f"top-1 {other['top1']['value']:.2%} ({value} points, {low} to {high})"
