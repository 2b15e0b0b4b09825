"""What opening a data set takes, whether it is then read as a whole or streamed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets import ClassLabel, Features, Image, Value
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HTTPError  # of the HTTP library that this version of the client uses

from resnet50_recipe.errors import UserError, cause, in_one_line


_RUNS_NOW = "To see training run now, on data that is embedded: --config recipes/digits.yaml"


def cache_for(folder: Path) -> str:
    """
    Where `datasets` may keep what it makes of a local folder: a place of its own for each folder and state of it.

    Left alone, `datasets` goes by the folder's name and the patterns in its README.md, so that two folders called
    `packed` would be taken for one.
    """
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for path in sorted([*folder.rglob("*.parquet"), *folder.glob("README.md")]):
        digest.update(repr((str(path), path.stat().st_size, path.stat().st_mtime_ns)).encode())
    return str(Path(datasets.config.HF_DATASETS_CACHE, "local", digest.hexdigest()[:16]))


def column_names(features: Features, image_column: str | None, label_column: str | None) -> tuple[str, str]:
    """
    The image column and the label column: the given ones, else the only ones there are. Where no column says that it
    has images, as `datasets` writes it, one with the bytes of files does, as pandas writes it.

    Raises:
        UserError: no such column, or several.
    """
    if image_column is None:
        found = [name for name, feature in features.items() if isinstance(feature, Image)]
        found = found or [name for name, feature in features.items() if _has_bytes(feature)]
        if len(found) != 1:
            raise UserError(
                f"{len(found)} image columns among {', '.join(features)}: name one with --image_column_name"
            )
        image_column = found[0]
    if label_column is None:
        found = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
        found = found or [name for name in ("label", "labels") if name in features]
        if len(found) != 1:
            raise UserError(
                f"{len(found)} label columns among {', '.join(features)}: name one with --label_column_name"
            )
        label_column = found[0]
    for column in (image_column, label_column):
        if column not in features:
            raise UserError(f"no column {column!r}; there are: {', '.join(features)}")
    return image_column, label_column


def _has_bytes(feature: Any) -> bool:
    if isinstance(feature, dict):  # a struct, as of an `Image` whose metadata is lost
        return feature.keys() == {"bytes", "path"} and _has_bytes(feature["bytes"])
    return isinstance(feature, Value) and feature.dtype in ("binary", "large_binary")


@contextmanager
def errors_named(dataset_name: str) -> Iterator[None]:
    """Raises: UserError, in place of what `datasets` and its file systems raise for a source that does not open."""
    try:
        yield
    except DatasetNotFoundError as error:
        if "gated" in str(error):
            raise UserError(
                f"{dataset_name} is gated, and this account has no access yet. Ask for it on the data set's page on "
                f"the Hub, then log in with `hf auth login`. {_RUNS_NOW}"
            ) from error
        raise UserError(
            f"dataset_name {dataset_name}: neither a local folder nor a data set on the Hub that this account can "
            f"see. If it is private or gated, log in with `hf auth login`. {_RUNS_NOW}"
        ) from error
    except (OSError, HTTPError, pa.ArrowException, DatasetGenerationError, RuntimeError) as error:  # that is Xet's
        reason = " ".join(cause(error).split())
        if "BatchSize must be greater than 0" in reason:  # what `datasets` says of a file without a row group
            raise UserError(f"cannot read {dataset_name}: a parquet file without rows") from error
        raise UserError(f"cannot read {dataset_name}: {reason}. {_RUNS_NOW}") from error
    except ValueError as error:  # a configuration that does not exist, or has to be chosen
        raise UserError(f"{dataset_name}: {in_one_line(error)}") from error
