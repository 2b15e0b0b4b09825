"""The images that a command judges a model by, or calibrates it on."""

import argparse
import sys

import datasets
import torch
import transformers

from ..data.loader import DeviceLoader, ImageBatches
from ..data.sources import load_evaluation_split
from ..data.transforms import evaluation_transform
from ..errors import UserError


def add_dataset_options(command, required: bool) -> None:
    command.add_argument(
        "--dataset",
        required=required,
        help="a data set on the Hub, a folder of class folders or parquet files, or 'digits'",
    )
    command.add_argument("--dataset_config", help="configuration of the data set on the Hub")
    command.add_argument("--split", help="default: the validation split, or the only one there is")
    command.add_argument("--image_column", help="default: the only image column")
    command.add_argument("--label_column", help="default: the only class-label column, or 'label'")
    command.add_argument("--batch_size", type=int, default=64, help="images per process at once (default 64)")
    command.add_argument("--num_workers", type=int, default=2, help="processes that decode images (default 2)")


def load_split(options: argparse.Namespace, split: str | None) -> datasets.Dataset:
    if options.batch_size < 1 or options.num_workers < 0:
        raise UserError("--batch_size must be at least 1 and --num_workers at least 0")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    return load_evaluation_split(
        options.dataset, split, options.dataset_config, options.image_column, options.label_column
    )


def make_loader(dataset: datasets.Dataset, sampler, processor, device: torch.device, num_workers: int) -> DeviceLoader:
    batches = ImageBatches(dataset, evaluation_transform(*protocol(processor)))
    return DeviceLoader(batches, sampler, device, processor.image_mean, processor.image_std, num_workers)


def class_map_of(config: transformers.PreTrainedConfig, data_names: list[str]) -> torch.Tensor:
    """The model's class for each class of the data: by name where the names agree, else by position."""
    if set(data_names) <= set(config.label2id):
        return torch.tensor([int(config.label2id[name]) for name in data_names])
    if len(data_names) != config.num_labels:
        raise UserError(
            f"the data has {len(data_names)} classes ({data_names[0]}, …), the model {config.num_labels} "
            f"({config.id2label[0]}, …)"
        )
    print("note: the data's class names are not the model's; classes are matched by position", file=sys.stderr)
    return torch.arange(len(data_names))


def protocol(processor) -> tuple[int, int, str]:
    """Short side, crop and interpolation, as the model's own processor states them."""
    try:
        interpolation = {2: "bilinear", 3: "bicubic"}[int(processor.resample)]
        crop_size = processor.crop_size
        if crop_size["height"] != crop_size["width"]:
            raise KeyError("a square crop")
        return processor.size["shortest_edge"], crop_size["height"], interpolation
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{type(processor).__name__} does not resize the short side and crop the centre, which is all that "
            f"`resnet50 evaluate` can do; missing: {error}"
        ) from error
