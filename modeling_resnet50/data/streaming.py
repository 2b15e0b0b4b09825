"""
Parquet shards, on the Hub or in a folder, as training data that is never on this disk as a whole.

What is read at once is a row group. An epoch puts the row groups into an order of its own and cuts the rows, in that
order, into streams of equal length, one for each worker of each process; so a row group is read by one worker, once.
Inside its stream, every row is put off by a random number of rows, at most twice the shuffle buffer.

As in `sampling`, who sees what when is a pure function of a few integers: the sampler computes it, and tells the
workers batch by batch which rows to take and which row groups to have in memory.
"""

import os
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, load_dataset_builder
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from huggingface_hub.errors import HTTPError  # of the HTTP library that this version of the client uses
from torch import Tensor
from torch.utils.data import Sampler

from resnet50_recipe.errors import UserError, in_one_line

from .class_names import names_in_words
from .labels import ClassValues, class_values, refuse_missing, require_one_order
from .loader import ImageBatches
from .opening import cache_for, column_names, errors_named
from .sampling import EpochSampler, EvaluationSampler
from .transforms import ImageTransform


FOOTER_THREADS = 16
READ_THREADS = 4  # for each worker
# Seconds until a row group is asked for again, from a server; huggingface_hub has by then tried for 20 s by itself.
RETRY_AFTER = (10, 30, 60)


# Where the rows are


@dataclass(frozen=True)
class StreamedSplit:
    """
    One split of a data set in parquet shards: where its rows are, and what they mean. Rows are numbered from 0, over
    all shards; so are row groups.

    Attributes:
        filesystem: has the shards, at `paths`.
        file_sizes: of the shards, in bytes.
        footers: of the shards.
        image_column, label_column: their names in the shards.
        label_names: of the classes.
        classes: where the shards name none.
        taken: of the row groups of all shards, those that count, each with how many of its first rows. None: all.
    """

    filesystem: AbstractFileSystem
    paths: list[str]
    file_sizes: Sequence[int]
    footers: Sequence[pq.FileMetaData]
    image_column: str
    label_column: str
    label_names: list[str]
    classes: ClassValues | None = None
    taken: dict[int, int] | None = None

    def __len__(self) -> int:
        return int(self.row_group_sizes.sum())

    @property
    def features(self) -> Features:
        """As a `datasets.Dataset` from `sources` has them."""
        return Features({"image": Image(decode=False), "label": ClassLabel(names=self.label_names)})

    @cached_property
    def row_groups(self) -> list[tuple[int, int]]:
        """Shard of each row group, and its number there."""
        groups = [
            (shard, group) for shard, footer in enumerate(self.footers) for group in range(footer.num_row_groups)
        ]
        return groups if self.taken is None else [groups[number] for number in self.taken]

    @cached_property
    def row_group_sizes(self) -> np.ndarray:
        """Rows in each row group, int64, `(number of row groups,)`."""
        sizes = [self.footers[shard].row_group(group).num_rows for shard, group in self.row_groups]
        return np.array(sizes if self.taken is None else [*self.taken.values()], dtype=np.int64)

    def at_most(self, number: int | None, seed: int) -> "StreamedSplit":
        """Row groups drawn at random with so many rows, the last of them in part. None: all."""
        if number is None or number >= len(self):
            return self
        order = np.random.default_rng((seed, 1)).permutation(len(self.row_groups))
        sizes = self.row_group_sizes[order]
        rows = np.clip(number - (np.cumsum(sizes) - sizes), 0, sizes)
        return replace(self, taken=dict(sorted(zip(order[rows > 0].tolist(), rows[rows > 0].tolist()))))

    def read_row_group(self, number: int) -> tuple[list[dict[str, Any]], np.ndarray]:
        """
        Returns:
            For each row, `bytes` and `path` of the image, encoded; and the labels, int64.

        Raises:
            ShardError: the shard cannot be read, even after waiting, or has an image without a class.
        """
        shard, group = self.row_groups[number]
        waits = RETRY_AFTER if "file" not in self.filesystem.protocol else ()
        for wait in (*waits, None):
            try:
                table = self._read(shard, group)
                break
            except FileNotFoundError as error:
                raise ShardError(f"the shard {self.paths[shard]} is gone") from error
            except (OSError, HTTPError, pa.ArrowException) as error:
                if wait is None:
                    reason = in_one_line(error)
                    raise ShardError(f"cannot read row group {group} of {self.paths[shard]}: {reason}") from error
                time.sleep(wait)
        table = table.slice(0, int(self.row_group_sizes[number]))
        labels = self._classes_of(table[self.label_column])
        outside = (labels < 0) | (labels >= len(self.label_names))
        if outside.any():
            row = int(self.row_group_sizes[:number].sum()) + int(outside.argmax())
            raise ShardError(
                f"{self.paths[shard]} has labels outside the {len(self.label_names)} classes (or no labels at all, as "
                f"ImageNet's test split), first in row {row}"
            )
        chunks = [Image(decode=False).cast_storage(chunk) for chunk in table[self.image_column].chunks]
        return [row for chunk in chunks for row in chunk.to_pylist()], labels

    def _classes_of(self, column: pa.ChunkedArray) -> np.ndarray:
        if self.classes is not None:
            return self.classes.classes_of(column)
        return column.fill_null(-1).to_numpy().astype(np.int64)

    def classes_of_rows(self) -> np.ndarray:
        """
        The class of each row, int64, read from the shards; -1: none.

        Raises:
            UserError: they cannot be read.
        """
        with errors_named(self.paths[0]):
            labels = self._classes_of(self.read_labels())
        if self.taken is None:
            return labels
        sizes = [footer.row_group(group).num_rows for footer in self.footers for group in range(footer.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        return np.concatenate([labels[starts[group] : starts[group] + rows] for group, rows in self.taken.items()])

    def read_labels(self) -> pa.ChunkedArray:
        """The labels of all rows, as they are in the shards: a small part of them."""

        def read(shard: int) -> pa.ChunkedArray:
            with self.filesystem.open(self.paths[shard], "rb", cache_type="none", size=self.file_sizes[shard]) as file:
                parquet = pq.ParquetFile(file, metadata=self.footers[shard], pre_buffer=True)
                return parquet.read(columns=[self.label_column], use_threads=False)[self.label_column]

        with ThreadPoolExecutor(FOOTER_THREADS) as threads:
            columns = list(threads.map(read, range(len(self.paths))))
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)

    def _read(self, shard: int, group: int) -> pa.Table:
        # With size and footer known, nothing is asked for but the row group itself.
        with self.filesystem.open(self.paths[shard], "rb", cache_type="none", size=self.file_sizes[shard]) as file:
            parquet = pq.ParquetFile(file, metadata=self.footers[shard], pre_buffer=True)
            return parquet.read_row_group(group, columns=[self.image_column, self.label_column], use_threads=False)


class ShardError(Exception):
    """Row groups cannot be read. Not a `UserError`, which for a batch means one bad image."""


def open_streamed_split(
    dataset_name: str,
    split_names: Sequence[str],
    config_name: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> StreamedSplit:
    """
    Find a split's shards and read their footers, and nothing else of them.

    Args:
        dataset_name: a folder or a file of parquet, or a data set on the Hub; that one is held at its revision of now.
        split_names: the first of these that there is.
        config_name: of a data set with several configurations.
        image_column, label_column: None: the only such column there is.

    Raises:
        UserError: the source is missing, out of reach, not parquet, empty, unlabelled, or without such a split.
    """
    path = Path(dataset_name).expanduser()
    if path.is_file() and path.suffix != ".parquet":
        raise UserError(f"{dataset_name} is not in parquet shards, so it cannot be streamed")
    with errors_named(dataset_name):
        if path.is_file():
            builder = load_dataset_builder("parquet", data_files=str(path))
        elif path.is_dir():
            builder = load_dataset_builder(str(path), config_name, cache_dir=cache_for(path))
        else:
            builder = load_dataset_builder(dataset_name, config_name)
    if builder.name != "parquet":
        raise UserError(f"{dataset_name} is not in parquet shards, so it cannot be streamed")
    urls_of = builder.config.data_files
    split_name = next((name for name in split_names if name in urls_of), None)
    if split_name is None:
        raise UserError(f"{dataset_name} has no split {split_names[0]!r}; it has: {', '.join(map(str, urls_of))}")

    urls = urls_of[split_name]
    filesystem = url_to_fs(urls[0])[0]
    paths = [filesystem._strip_protocol(url) for url in urls]
    with errors_named(dataset_name), ThreadPoolExecutor(FOOTER_THREADS) as threads:
        footers, file_sizes = zip(*threads.map(lambda path: _read_footer(filesystem, path), paths))
    if not any(footer.num_rows for footer in footers):
        raise UserError("the split is empty")
    require_one_order((path, footer.schema.to_arrow_schema()) for path, footer in zip(paths, footers))
    features = builder.info.features or Features.from_arrow_schema(footers[0].schema.to_arrow_schema())
    image_column, label_column = column_names(features, image_column, label_column)
    split = StreamedSplit(filesystem, paths, file_sizes, footers, image_column, label_column, [])
    if isinstance(features[label_column], ClassLabel):
        return replace(split, label_names=names_in_words(features[label_column].names))
    with errors_named(dataset_name):
        column = split.read_labels()
    name = f"{split_name}, column {label_column!r}"
    classes = class_values([(name, column)])
    refuse_missing(name, classes.classes_of(column) < 0)
    return replace(split, classes=classes, label_names=names_in_words(classes.names))


def _read_footer(filesystem: AbstractFileSystem, path: str) -> tuple[pq.FileMetaData, int]:
    with filesystem.open(path, "rb", cache_type="none") as file:
        return pq.read_metadata(file), file.seek(0, os.SEEK_END)


# Who sees which row when


class StreamedBatch(NamedTuple):
    """
    What a worker has to know about one batch.

    Attributes:
        epoch: for the augmentation.
        stream: that the batch is from.
        indices: rows of the split, in order.
        row_groups: that this stream needs in memory from now on, the soonest first: those that have begun and are not
            used up, and those to read ahead.
    """

    epoch: int
    stream: int
    indices: list[int]
    row_groups: list[int]


class StreamSampler(EpochSampler):
    """
    One process's share of an epoch, one `StreamedBatch` per forward pass.

    The forward passes of an epoch are numbered over all processes: step after step, in each step accumulation pass
    after accumulation pass, in each of these process after process. Pass f takes the next batch of stream
    f mod `num_streams`. So all processes have equally many; two processes see what one process with two accumulation
    steps sees; and a worker meets the same streams only, as long as the number of workers divides
    `num_streams / num_processes`. With any other number every image is still seen once, but row groups are read
    several times. Images that do not fill a last total batch are left out; which ones, changes with every epoch.

    An epoch that began with other numbers of streams, processes or accumulation steps goes on in the order it began
    with, if `start` is told its `layout`.

    A worker holds about `shuffle_buffer` encoded images and two row groups in memory for each of its streams. A batch
    is drawn from about `2 * shuffle_buffer` rows around the same place of the stream: fewer at both of its ends, which
    is why the first batch does not have to wait for a full buffer.

    Args:
        row_group_sizes: of the split.
        total_batch_size, seed, gradient_accumulation_steps, process_index, num_processes: as for `EpochSampler`.
        shuffle_buffer: images in memory, for each stream. 0: rows stay as they are, only row groups are shuffled.
        num_streams: a multiple of num_processes; usually `num_processes * max(1, num_workers)`.

    Attributes:
        layout: number of streams, and images per pass.
    """

    def __init__(
        self,
        row_group_sizes: np.ndarray,
        total_batch_size: int,
        seed: int,
        shuffle_buffer: int,
        gradient_accumulation_steps: int = 1,
        process_index: int = 0,
        num_processes: int = 1,
        num_streams: int | None = None,
    ):
        num_images = int(row_group_sizes.sum())
        self.row_group_sizes = row_group_sizes
        self.shuffle_buffer = shuffle_buffer
        self.num_streams = num_streams or num_processes
        if self.num_streams % num_processes:
            raise UserError(f"{self.num_streams} streams do not divide over {num_processes} processes")
        super().__init__(num_images, total_batch_size, seed, gradient_accumulation_steps, process_index, num_processes)

    def start(self, epoch: int, images: int = 0, left_out: Collection[int] = (), layout: list[int] | None = None):
        """See `EpochSampler.start`."""
        super().start(epoch, images, left_out)
        passes = self.gradient_accumulation_steps * self.num_processes
        self.layout = layout or [self.num_streams, self.total_batch_size // passes]

    def __iter__(self) -> Iterator[StreamedBatch]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.row_group_sizes))
        batch_size = self.total_batch_size // (self.gradient_accumulation_steps * self.num_processes)
        shares = self._positions().reshape(len(self), self.num_processes, batch_size)[:, self.process_index]
        num_streams = self.num_streams // self.num_processes  # of this process
        streams = [
            _Stream(self.row_group_sizes, order, shares[number::num_streams].reshape(-1), batch_size)
            for number in range(min(num_streams, len(shares)))
        ]
        for number in self.batch_numbers():
            index, stream = divmod(number, num_streams)
            name = self.process_index + self.num_processes * stream
            yield StreamedBatch(self.epoch, name, *streams[stream].batch(index))

    def _positions(self) -> np.ndarray:
        """Of the rows, in the rows of the row groups in their order, one after the other as all processes see them."""
        num_streams, batch_size = self.layout
        batches = self.images_per_epoch // batch_size
        positions = np.empty((batches, batch_size), np.int64)
        begin = 0
        for number in range(min(num_streams, batches)):
            end = begin + len(range(number, batches, num_streams)) * batch_size
            rng = np.random.default_rng((self.seed, self.epoch, number, 1))
            delayed = np.arange(begin, end) + rng.uniform(0, 2 * self.shuffle_buffer, end - begin)
            positions[number::num_streams] = (begin + np.argsort(delayed, kind="stable")).reshape(-1, batch_size)
            begin = end
        return positions


class StreamedEvaluationSampler(Sampler):
    """
    One process's share of a split, each row exactly once, without shuffling: each worker reads a part of its own from
    beginning to end, and their batches take turns. The last batch of a worker may be shorter, and processes may have
    a few batches more or less than others.
    """

    def __init__(
        self,
        row_group_sizes: np.ndarray,
        batch_size: int,
        process_index: int = 0,
        num_processes: int = 1,
        num_workers: int = 0,
    ):
        order = np.arange(len(row_group_sizes))
        num_streams = max(1, num_workers)
        parts = np.array_split(np.arange(row_group_sizes.sum()), num_processes * num_streams)
        # The longer parts come first, so that they can take turns.
        parts = parts[process_index * num_streams :][:num_streams]
        self.streams = [_Stream(row_group_sizes, order, part, batch_size) for part in parts]

    def __len__(self) -> int:
        return sum(map(len, self.streams))

    def __iter__(self) -> Iterator[StreamedBatch]:
        for number in range(len(self)):
            index, stream = divmod(number, len(self.streams))
            yield StreamedBatch(0, stream, *self.streams[stream].batch(index))


class _Stream:
    """
    Batches from a sequence of rows.

    Args:
        row_group_sizes: of the split.
        order: a permutation of the row groups.
        positions: in the rows of the row groups in that order.
        batch_size: rows per batch.
    """

    def __init__(self, row_group_sizes: np.ndarray, order: np.ndarray, positions: np.ndarray, batch_size: int):
        stops = np.cumsum(row_group_sizes[order])
        row_groups = order[np.searchsorted(stops, positions, side="right")]
        shift = np.empty_like(stops)  # from a place in the order to a row of the split
        shift[order] = np.cumsum(row_group_sizes)[order] - stops
        self.batch_size = batch_size
        self.indices = positions + shift[row_groups]
        self.row_groups, first = np.unique(row_groups, return_index=True)
        last = len(positions) - 1 - np.unique(row_groups[::-1], return_index=True)[1]
        as_needed = np.argsort(first)
        self.row_groups = self.row_groups[as_needed]
        self.first_batches, self.last_batches = first[as_needed] // batch_size, last[as_needed] // batch_size
        # Up to each row group, the last batch that needs it or one before it.
        self.last_until = np.maximum.accumulate(self.last_batches)

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def batch(self, number: int) -> tuple[list[int], list[int]]:
        """Rows of one batch; and the row groups with rows in it or later, up to those that the next batch needs, at
        least one more than this batch needs."""
        indices = self.indices[number * self.batch_size : (number + 1) * self.batch_size]
        begun, soon = np.searchsorted(self.first_batches, (number, number + 1), side="right")
        used_up = np.searchsorted(self.last_until, number)  # at least; not to go through all of them for each batch
        wanted = slice(used_up, max(begun + 1, soon))
        return indices.tolist(), self.row_groups[wanted][self.last_batches[wanted] >= number].tolist()


def evaluation_sampler(
    dataset: Dataset | StreamedSplit, batch_size: int, num_workers: int, process_index: int = 0, num_processes: int = 1
) -> EvaluationSampler | StreamedEvaluationSampler:
    """Each image once, over all processes, of data that is here or streamed."""
    if isinstance(dataset, StreamedSplit):
        return StreamedEvaluationSampler(
            dataset.row_group_sizes, batch_size, process_index, num_processes, num_workers=num_workers
        )
    return EvaluationSampler(len(dataset), batch_size, process_index, num_processes)


# In the worker


def image_batches(dataset: Dataset | StreamedSplit, transform: ImageTransform, **reading: Any) -> ImageBatches:
    """`ImageBatches` of data that is here or streamed."""
    return (StreamedImageBatches if isinstance(dataset, StreamedSplit) else ImageBatches)(
        dataset, transform, **reading
    )


class StreamedImageBatches(ImageBatches):
    """
    `ImageBatches` of a split that is not here: the same pixels for the same (seed, epoch, row).

    Iterate over it with the batches of a `StreamSampler` or a `StreamedEvaluationSampler`.
    """

    def _columns_of(self, dataset: StreamedSplit) -> tuple["RowGroupReader", np.ndarray]:
        reader = RowGroupReader(dataset)
        return reader, reader.labels

    def __getitems__(  # type: ignore[override]  # the batches of another kind of sampler
        self, batch: StreamedBatch
    ) -> dict[str, Tensor | list[str]] | UserError:
        try:
            self.images.hold(batch.stream, batch.row_groups)
            return super().__getitems__([(batch.epoch, index) for index in batch.indices])
        except ShardError as error:
            return UserError(str(error))


class RowGroupReader:
    """
    Rows of a split by number, like a `datasets.Dataset`, in the process that called `hold`: any row, though only
    those of the row groups that are held come without waiting. A row is forgotten when it is given out: asking again
    reads its row group again.

    Attributes:
        labels: int64 `(rows,)`; known for rows that have been given out.
    """

    def __init__(self, split: StreamedSplit):
        self.split = split
        self.labels = np.full(len(split), -1)
        self._stops = np.cumsum(split.row_group_sizes)
        self._pid: int | None = None
        self._held: dict[int, list[int]] = {}
        self._reads: dict[int, Future[dict[int, dict[str, Any]]]] = {}

    def hold(self, stream: int, row_groups: list[int]) -> None:
        """Read these row groups in the background, and keep them and those of the other streams. Drop all others."""
        if self._pid != os.getpid():  # threads, and what they were reading, stay behind at a fork
            self._pid, self._threads, self._reads = os.getpid(), ThreadPoolExecutor(READ_THREADS), {}
        self._held[stream] = row_groups
        for row_group in self._reads.keys() - set().union(*self._held.values()):
            self._reads.pop(row_group).cancel()
        for row_group in row_groups:
            self._read(row_group)

    def __getitem__(self, indices: int | list[int]) -> dict[str, Any]:
        """`{"image": row}` or `{"image": rows}`, a row being `bytes` and `path`."""
        if isinstance(indices, list):
            return {"image": [self._take(index) for index in indices]}
        return {"image": self._take(indices)}

    def _take(self, index: int) -> dict[str, Any]:
        row_group = int(np.searchsorted(self._stops, index, side="right"))
        rows = self._read(row_group).result()
        if index not in rows:
            del self._reads[row_group]
            rows = self._read(row_group).result()
        return rows.pop(index)

    def _read(self, row_group: int) -> Future[dict[int, dict[str, Any]]]:
        if row_group not in self._reads:
            self._reads[row_group] = self._threads.submit(self._rows_of, row_group)
        return self._reads[row_group]

    def _rows_of(self, row_group: int) -> dict[int, dict[str, Any]]:
        rows, labels = self.split.read_row_group(row_group)
        stop = int(self._stops[row_group])
        self.labels[stop - len(rows) : stop] = labels
        return dict(enumerate(rows, stop - len(rows)))
