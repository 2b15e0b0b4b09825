"""
Encoded images in parquet, through Parquet's default dictionary and plainly, as `prepare --pack` writes them: CPU time
of writing and of reading a row group, and the bytes that are read until its first image is there.

    python -m benchmarks packing SOURCE [--images 300] [--rounds 7]

SOURCE is what `dataset_name` takes: real photographs. All images are in one row group.
"""

import argparse
import io
import time
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modeling_resnet50.data.decoding import encoded_bytes
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.prepare.pack import PARQUET

from .common import hardware, keep, print_table, take_turns, versions


FORMS: dict[str, dict[str, Any]] = {"with a dictionary": {"compression": "NONE"}, "ours, plain": PARQUET}


class _Counted(io.BytesIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    split = load_evaluation_split(options.source)
    split = split.select(np.resize(np.arange(len(split)), options.images))
    # Those that are there several times differ in a last byte, which no decoder looks at: photographs do differ.
    rows = [
        {"image": {"bytes": encoded_bytes(row["image"]) + number.to_bytes(4, "big"), "path": f"{number}.jpg"},
         "label": row["label"]}
        for number, row in enumerate(split)
    ]  # fmt: skip
    features = datasets.Features({"image": datasets.Image(), "label": split.features["label"]})
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    written = {form: _write(table, settings) for form, settings in FORMS.items()}

    print(f"{hardware()}; {versions('pyarrow')}")
    parts = {}
    for title, work in (
        ("writing", {form: lambda settings=settings: _write(table, settings) for form, settings in FORMS.items()}),
        ("reading", {form: lambda data=data: _read(data) for form, data in written.items()}),
    ):
        seconds = take_turns(work, options.rounds, time.process_time)
        parts[title] = (
            "µs an image",
            "with a dictionary",
            {form: [1e6 * value / len(rows) for value in values] for form, values in seconds.items()},
        )
    megabytes = {form: [_bytes_to_the_first_image(data) / 1e6] for form, data in written.items()}
    parts[f"until the first image, of {table.nbytes / 1e6:.1f} MB"] = ("MB", "with a dictionary", megabytes)
    for title, (unit, base, values) in parts.items():
        print_table(title, unit, values, base)
    keep("packing", {"images": options.images, "rounds": options.rounds}, parts, packages=("pyarrow",))


def _write(table: pa.Table, settings: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, **settings) as writer:
        writer.write_table(table, row_group_size=len(table))
    return buffer.getvalue()


def _read(data: bytes) -> None:
    pq.ParquetFile(io.BytesIO(data)).read_row_group(0, use_threads=False)


def _bytes_to_the_first_image(data: bytes) -> int:
    file = _Counted(data)
    parquet = pq.ParquetFile(file, buffer_size=2**16, pre_buffer=False)
    before = file.read_bytes
    next(parquet.iter_batches(batch_size=1, use_threads=False))
    return file.read_bytes - before


if __name__ == "__main__":
    main()
