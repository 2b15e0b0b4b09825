"""Predictions as a table, for spreadsheets and programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from torch import Tensor, nn

from resnet50_recipe.errors import UserError

from ..data.file_names import as_utf8
from ..files import replaced_file


_ENDINGS = (".csv", ".parquet")


class PredictionTable:
    """
    A row for each image: `file_name`, `label` and `score` of the likeliest class, `label_2`, `score_2`, … of the next
    ones, and `error` of one that could not be read. With a threshold, `none`, whether the likeliest stays below it. If
    that is asked for, `embedding`, float32, what the classifier sees of the image.

    Args:
        path: .csv or .parquet.
        embeddings: whether to have them, of the model that `watch` is told.

    Raises:
        UserError: its ending is another, or embeddings are to be written to a CSV.
    """

    def __init__(self, path: Path, embeddings: bool = False):
        if path.suffix.lower() not in _ENDINGS:
            raise UserError(f"--output {path}: a table of predictions ends in {' or '.join(_ENDINGS)}")
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}
        self._embeddings: Iterator[list[float]] | None = iter(()) if embeddings else None
        if embeddings and path.suffix.lower() != ".parquet":
            raise UserError(f"--embeddings are written to parquet files: --output {path.with_suffix('.parquet')}")

    def watch(self, model: nn.Module) -> None:
        """
        The rows added after a forward pass take its embeddings, one after the other.

        Raises:
            UserError: they are wanted, and the model has no linear classifier.
        """
        if self._embeddings is not None:
            _linear_classifier(model).register_forward_pre_hook(self._take)

    def _take(self, classifier: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._embeddings = iter(inputs[0].flatten(1).float().cpu().tolist())

    def add(
        self, path: str, answers: list[tuple[str, float]], threshold: float = 0.0, error: str | None = None
    ) -> None:
        """Classes with their scores, the likeliest first; below the threshold, it is none of them."""
        row: dict[str, Any] = {"none": answers[0][1] < threshold} if threshold and answers else {}
        for number, (label, score) in enumerate(answers, 1):
            ending = "" if number == 1 else f"_{number}"
            row |= {f"label{ending}": label, f"score{ending}": score}
        self._rows[path] = row | {"error": error}
        if self._embeddings is not None and error is None:
            self._rows[path]["embedding"] = next(self._embeddings)

    def write(self, paths: list[str]) -> None:
        """In the order of these paths; all at once, in place of an older table."""
        rows = [{"file_name": as_utf8(path), **self._rows[path]} for path in dict.fromkeys(paths)]
        longest = max(rows, key=len)
        columns = {name: [row.get(name) for row in rows] for name in longest}
        table = pa.table({name: pa.array(values, _kind(name)) for name, values in columns.items()})
        with replaced_file(self.path) as unfinished:
            if self.path.suffix.lower() == ".csv":
                pyarrow.csv.write_csv(table, unfinished)
            else:
                pq.write_table(table, unfinished)


def _kind(column: str) -> pa.DataType:
    if column == "embedding":
        return pa.list_(pa.float32())
    if column == "none":
        return pa.bool_()
    return pa.float64() if column.startswith("score") else pa.string()


def _linear_classifier(model: nn.Module) -> nn.Linear:
    """The last linear layer."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise UserError("--embeddings: the model has no linear classifier whose input could be taken, as an ONNX file")
    return layers[-1]
