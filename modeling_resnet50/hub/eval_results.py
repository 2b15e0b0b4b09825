"""
Results of an evaluation as the Hub reads them: `model-index` in a card's front matter, and `.eval_results/*.yaml`.
"""

from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from ..files import replaced_file
from ..recipe import is_repo_id


_METRICS = {"top1": "top-1 accuracy", "top5": "top-5 accuracy"}


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
    is_on_the_hub = is_repo_id(dataset["name"]) and not Path(dataset["name"]).exists()
    card_data = ModelCardData(
        model_name=model_name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=dataset["name"],
                dataset_name=dataset["name"],
                dataset_config=dataset["config"],
                dataset_split=dataset["split"],
                metric_type="accuracy",
                metric_name=name,
                metric_value=round(result[key]["value"], 6),
            )
            for key, name in _METRICS.items()
        ],
    )
    files = [folder / "model-index.yaml"]
    with replaced_file(files[0]) as file:
        file.write_text(card_data.to_yaml() + "\n", encoding="utf-8")
    if is_on_the_hub:
        notes = f"{protocol_in_words(result)}; {result['images']:,} images of {dataset['split']}"
        files.append(folder / leaderboard_file(dataset["name"]))
        with replaced_file(files[1]) as file:
            text = leaderboard_yaml(dataset["name"], dataset["config"], result["top1"]["value"], notes)
            file.write_text(text, encoding="utf-8")
    return files


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
    return yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)


def protocol_in_words(result: dict[str, Any]) -> str:
    """`256 → 224 pixels, bilinear, with mirror images`, of one of `models` of a results.json."""
    protocol = result["protocol"]
    flip = ", with mirror images" if protocol["flip"] else ""
    stored = ", as stored (EXIF orientation ignored)" if protocol.get("exif_orientation") == "ignore" else ""
    return f"{protocol['resize_size']} → {protocol['image_size']} pixels, {protocol['interpolation']}{stored}{flip}"
