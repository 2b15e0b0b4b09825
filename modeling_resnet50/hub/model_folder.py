"""Write and read a model's folder: weights, config, code, image processor, card."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from transformers import BitImageProcessor, PreTrainedModel

from ..data.transforms import evaluation_resize_size
from ..errors import UserError
from ..recipe import Recipe
from .model_card import model_card


def image_processor(recipe: Recipe) -> BitImageProcessor:
    """
    transformers' own processor, set to the recipe's evaluation protocol.

    Every value is given, because this class's defaults are CLIP's.
    """
    crop_size = recipe.eval_image_size or recipe.image_size
    return BitImageProcessor(
        do_convert_rgb=True,
        do_resize=True,
        size={"shortest_edge": evaluation_resize_size(crop_size, recipe.eval_crop_ratio)},
        resample={"bilinear": 2, "bicubic": 3}[recipe.interpolation],
        do_center_crop=True,
        crop_size={"height": crop_size, "width": crop_size},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=recipe.image_mean,
        image_std=recipe.image_std,
    )


def save_model(
    folder: Path, model: PreTrainedModel, recipe: Recipe, history: list[dict[str, Any]], epoch: int
) -> None:
    """
    Everything a user needs to load the model, in one folder.

    Args:
        folder: exists, and is empty.
        model: unwrapped.
        recipe: what it was trained by.
        history: rows of metrics.jsonl; the card states those of `epoch`.
        epoch: the epoch the weights come from.
    """
    model.save_pretrained(folder)
    image_processor(recipe).save_pretrained(folder)
    model_card(model, recipe, history, epoch).save(folder / "README.md")


def prepare_repository(repo_id: str) -> None:
    """
    Make sure, before training, that there is a repository to push to.

    Raises:
        UserError: not logged in, or not allowed to write there.
    """
    try:
        HfApi().create_repo(repo_id, exist_ok=True)
    except LocalTokenNotFoundError as error:
        raise UserError("push_to_hub needs a login: run `hf auth login`, or set HF_TOKEN") from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"cannot push to {repo_id}: {reason}. Log in with `hf auth login`") from error


def push_model(folder: Path, repo_id: str) -> str:
    """
    Upload a model's folder; returns the address of the commit.

    Raises:
        UserError: the Hub did not take it. The folder is untouched, and the message says how to send it by hand.
    """
    try:
        return str(HfApi().upload_folder(repo_id=repo_id, folder_path=folder, commit_message=f"Upload {folder.name}"))
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"trained, but not published ({reason}); run: hf upload {repo_id} {folder}") from error
