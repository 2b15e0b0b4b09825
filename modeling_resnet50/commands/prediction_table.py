"""Predictions as a table, for spreadsheets and programs."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from resnet50_recipe.errors import UserError

from ..data.file_names import as_utf8
from ..files import replaced_file


_ENDINGS = (".csv", ".parquet")


class PredictionTable:
    """
    A row for each image: `file_name`, `label` and `score` of the likeliest class, `label_2`, `score_2`, … of the next
    ones, and `error` of one that could not be read.

    Args:
        path: .csv or .parquet.

    Raises:
        UserError: its ending is another.
    """

    def __init__(self, path: Path):
        if path.suffix.lower() not in _ENDINGS:
            raise UserError(f"--output {path}: a table of predictions ends in {' or '.join(_ENDINGS)}")
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}

    def add(self, path: str, answers: list[tuple[str, float]], error: str | None = None) -> None:
        """Classes with their scores, the likeliest first."""
        row: dict[str, Any] = {}
        for number, (label, score) in enumerate(answers, 1):
            ending = "" if number == 1 else f"_{number}"
            row |= {f"label{ending}": label, f"score{ending}": score}
        self._rows[path] = row | {"error": error}

    def write(self, paths: list[str]) -> None:
        """In the order of these paths; all at once, in place of an older table."""
        rows = [{"file_name": as_utf8(path), **self._rows[path]} for path in dict.fromkeys(paths)]
        longest = max(rows, key=len)
        columns = {name: [row.get(name) for row in rows] for name in longest}
        kinds = {name: pa.float64() if name.startswith("score") else pa.string() for name in columns}
        table = pa.table({name: pa.array(values, kinds[name]) for name, values in columns.items()})
        with replaced_file(self.path) as unfinished:
            if self.path.suffix.lower() == ".csv":
                pyarrow.csv.write_csv(table, unfinished)
            else:
                pq.write_table(table, unfinished)
