"""
Results of an evaluation as the Hub reads them: `model-index` in a card's front matter, and `.eval_results/*.yaml`.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from ..files import replaced_file


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
    is_on_the_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", dataset["name"]) and not Path(dataset["name"]).exists()
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
        entry = EvalResultEntry(
            dataset_id=dataset["name"],
            task_id="image-classification",
            value=round(100 * result["top1"]["value"], 4),
            notes=f"top-1, %; {protocol_in_words(result)}; {result['images']:,} images of {dataset['split']}",
        )
        files.append(folder / ".eval_results" / f"{dataset['name'].replace('/', '--')}.yaml")
        with replaced_file(files[1]) as file:
            file.write_text(
                yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True),
                encoding="utf-8",
            )
    return files


def protocol_in_words(result: dict[str, Any]) -> str:
    """`256 → 224 pixels, bilinear, with mirror images`, of one of `models` of a results.json."""
    protocol = result["protocol"]
    flip = ", with mirror images" if protocol["flip"] else ""
    return f"{protocol['resize_size']} → {protocol['image_size']} pixels, {protocol['interpolation']}{flip}"
