"""The model card, made from the run's own records: no number in it is typed by hand."""

import re
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import PreTrainedModel

from ..data.transforms import evaluation_resize_size
from ..recipe import Recipe


_TEMPLATE = """---
{card_data}
---

# {name}

ResNet-50 (He et al. 2015, v1.5: stride in the 3×3 convolutions) trained {start} on `{dataset}`:
{parameters:,} parameters, {num_labels} classes, images of {image_size} × {image_size} pixels.

## Results

| epoch | top-1 | top-5 | loss |
| ---: | ---: | ---: | ---: |
| {epoch} of {epochs} | {top1:.2%} | {top5:.2%} | {loss:.4f} |

Measured on the validation split, every image once: short side resized to {resize_size} pixels, central square of
{image_size}, {interpolation}. The saved image processor does the same.{flip}{averaged}{selection}

## Use

```python
from transformers import AutoModelForImageClassification, AutoImageProcessor
model = AutoModelForImageClassification.from_pretrained("{location}", trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained("{location}")
```

`model.safetensors` has torchvision's parameter names:
`torchvision.models.resnet50(num_classes={num_labels}).load_state_dict(safetensors.torch.load_file(path))` works too,
if the architecture is the default one.

## Training

{optim}, {epochs} epochs, {batch_size} images per step.{bad_images} Every setting:

```yaml
{recipe}
```
"""


def model_card(
    model: PreTrainedModel, recipe: Recipe, history: list[dict[str, Any]], epoch: int, prefix: str = ""
) -> ModelCard:
    """
    The card of a model with the weights of `epoch`.

    Args:
        model: unwrapped.
        recipe: what it was trained by.
        history: rows of metrics.jsonl, one of them for `epoch`.
        epoch: counted from 1.
        prefix: of this model's columns in the metrics: `"average_"` for averaged weights.
    """
    row = next(row for row in history if row["epoch"] == epoch)
    top1, top5, loss = (row[f"{prefix}{name}"] for name in ("val_top1", "val_top5", "val_loss"))
    settings = recipe.public_dict()
    dataset = settings["dataset_name"]
    name = recipe.hub_model_id or f"resnet50-{re.sub('[^A-Za-z0-9]+', '-', dataset).strip('-').lower()}"
    crop_size = recipe.eval_image_size or recipe.image_size
    bad_images = max(r["bad_images"] for r in history if r["epoch"] <= epoch)
    is_best = top1 == max(value for r in history for name, value in r.items() if name.endswith("val_top1"))
    card_data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification",
        license="apache-2.0",
        tags=["image-classification", "resnet", "resnet50", "pytorch"],
        metrics=["accuracy"],
        datasets=[dataset] if re.fullmatch(r"[\w.-]+/[\w.-]+", dataset) else None,
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split="validation",
                metric_type="accuracy",
                metric_name=metric_name,
                metric_value=round(value, 6),
            )
            for metric_name, value in (("top-1 accuracy", top1), ("top-5 accuracy", top5))
        ],
    )
    return ModelCard(
        _TEMPLATE.format(
            card_data=card_data.to_yaml(),
            name=name,
            dataset=dataset,
            parameters=model.num_parameters(),
            num_labels=model.config.num_labels,
            image_size=crop_size,
            resize_size=evaluation_resize_size(crop_size, recipe.eval_crop_ratio),
            interpolation=recipe.interpolation,
            epoch=epoch,
            epochs=recipe.num_train_epochs,
            top1=top1,
            top5=top5,
            loss=loss,
            averaged=" The weights are an average over the training." if prefix else "",
            flip=" The logits are the mean over each image and its mirror image." if recipe.eval_flip else "",
            optim=recipe.optim if recipe.optim != "sgd" else "SGD",
            start=f"from `{settings['model_name_or_path']}`" if recipe.model_name_or_path else "from scratch",
            selection=" These weights were chosen by this very top-1, which therefore flatters them."
            if is_best
            else "",
            location=recipe.hub_model_id or "path/to/this/folder",
            batch_size=recipe.total_train_batch_size,
            bad_images=f" In each epoch, up to {bad_images} unreadable images were replaced by others."
            if bad_images
            else "",
            recipe=yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100).strip(),
        )
    )
