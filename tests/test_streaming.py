"""Rows that are read as they are needed: each once in an epoch, by one worker, in an order that the seed decides."""

import io
import pickle
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image
from shared import run_python

from modeling_resnet50.data import streaming
from modeling_resnet50.data.augmentation import TrainingTransform
from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.data.streaming import (
    StreamedEvaluationSampler,
    StreamedImageBatches,
    StreamedSplit,
    StreamSampler,
    open_streamed_split,
)
from modeling_resnet50.data.transforms import EvaluationTransform
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


# Rows per row group, for each shard.
SHARDS = [[10, 10, 3], [1], [17, 4], [6, 6, 6, 6, 2]]
NAMES = ["ant", "bee", "cat", "dog"]
CLASSES = ClassLabel(names=NAMES)
SIZES = np.array([size for shard in SHARDS for size in shard])
TRANSFORM = TrainingTransform(Recipe(image_size=16))


def write_shard(path: Path, rows: range, row_groups: list[int], label=CLASSES, labels=None) -> None:
    """Pictures of their own for `rows`, whose labels are by default their number modulo four."""
    images = []
    for row in rows:
        coarse = np.random.default_rng(row).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((20 + row % 5, 18), Image.Resampling.BICUBIC).save(buffer, "JPEG")
        images.append({"bytes": buffer.getvalue(), "path": f"{row}.jpg"})
    features = Features({"image": datasets.Image(), "label": label})
    columns = {"image": images, "label": labels or [row % 4 for row in rows]}
    table = Dataset.from_dict(columns, features=features).data.table.cast(features.arrow_schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, table.schema) as writer:
        start = 0
        for size in row_groups:
            writer.write_table(table.slice(start, size))
            start += size


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    start = 0
    for number, row_groups in enumerate(SHARDS):
        rows = range(start, start + sum(row_groups))
        write_shard(folder / f"train-{number:05d}-of-00004.parquet", rows, row_groups)
        start = rows.stop
    write_shard(folder / "validation-00000-of-00001.parquet", range(100, 109), [4, 5])
    return folder


@pytest.fixture(scope="module")
def split(shards) -> StreamedSplit:
    return open_streamed_split(str(shards), ["train"])


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """The row groups that were read in this process, in order."""
    done = []
    read = StreamedSplit.read_row_group

    def recorded(self, number):
        done.append(number)
        return read(self, number)

    monkeypatch.setattr(StreamedSplit, "read_row_group", recorded)
    return done


def epoch_of(sampler: StreamSampler, epoch: int, start_step: int = 0, **start) -> list[streaming.StreamedBatch]:
    sampler.start(epoch, start_step * sampler.total_batch_size, **start)
    return list(sampler)


def random_layouts(count: int):
    """Row group sizes and the arguments of samplers, one for each process."""
    for case in range(count):
        print("case", case)  # is shown when it fails
        rng = np.random.default_rng(case)
        sizes = rng.integers(0, rng.integers(2, 30), rng.integers(1, 40))
        num_processes, num_workers, accumulation = (int(rng.integers(*bounds)) for bounds in ((1, 5), (0, 4), (1, 4)))
        total = num_processes * accumulation * int(rng.integers(1, 6))
        buffer = int(rng.integers(0, 100))
        num_streams = num_processes * max(1, num_workers)
        shared = (sizes, total, case, buffer, accumulation)
        yield shared, [(*shared, rank, num_processes, num_streams) for rank in range(num_processes)]


# Who sees which row when


def test_each_row_is_seen_once_in_an_epoch_and_processes_have_equally_many_batches():
    for (sizes, total, *_), arguments in random_layouts(150):
        rows = int(sizes.sum())
        parts = [epoch_of(StreamSampler(*each), epoch=3) for each in arguments]
        assert {len(part) for part in parts} == {len(StreamSampler(*arguments[0]))}
        seen = [index for part in parts for batch in part for index in batch.indices]
        assert len(seen) == len(set(seen)) == rows // total * total
        assert set(seen) <= set(range(rows))
        assert {len(batch.indices) for part in parts for batch in part} <= {total // len(arguments) // arguments[0][4]}


@pytest.mark.parametrize(("num_processes", "accumulation"), [(1, 1), (2, 1), (1, 2), (4, 1), (2, 2), (1, 4)])
def test_with_equally_many_streams_total_batches_are_the_same_however_they_are_split(num_processes, accumulation):
    def steps(num_processes, accumulation, num_streams):
        parts = [
            epoch_of(StreamSampler(SIZES, 8, 0, 20, accumulation, rank, num_processes, num_streams), epoch=1)
            for rank in range(num_processes)
        ]
        seen = [index for forward in zip(*parts, strict=True) for batch in forward for index in batch.indices]
        return np.array(seen).reshape(-1, 8)

    assert len(steps(1, 1, 4)) == 71 // 8
    # As many slots in a step, as many streams: the same rows in the same places.
    slots = num_processes * accumulation
    assert np.array_equal(steps(num_processes, accumulation, 8), steps(1, slots, 8))


def test_orders_are_reproducible_and_differ_between_epochs_and_seeds():
    def order(seed, epoch):
        return [index for batch in epoch_of(StreamSampler(SIZES, 8, seed, 20), epoch) for index in batch.indices]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    left_out = {frozenset(range(71)) - frozenset(order(0, epoch)) for epoch in range(20)}
    assert len(left_out) > 5
    assert {len(rows) for rows in left_out} == {71 % 8}


def test_continued_at_any_batch_an_epoch_ends_as_if_undisturbed():
    for _, arguments in random_layouts(30):
        for each in arguments:
            whole = epoch_of(StreamSampler(*each), epoch=2)
            accumulation = each[4]
            for start in range(len(whole) // accumulation + 1):
                assert epoch_of(StreamSampler(*each), epoch=2, start_step=start) == whole[start * accumulation :]


def test_continued_by_other_numbers_of_processes_workers_and_passes_each_step_has_the_images_it_would_have_had():
    for (sizes, total, seed, buffer, _), arguments in random_layouts(40):

        def steps(samplers, start_step, total=total, **layout):
            parts = [epoch_of(sampler, 1, start_step, **layout) for sampler in samplers]
            seen = [index for forward in zip(*parts, strict=True) for batch in forward for index in batch.indices]
            return np.array(seen).reshape(-1, total)

        first = [StreamSampler(*each) for each in arguments]
        whole = steps(first, 0)
        layout, start = first[0].layout, len(whole) // 3
        for num_processes, accumulation, num_workers in ((1, 1, 1), (1, total, 3), (total, 1, 2)):
            shared, num_streams = (sizes, total, seed, buffer, accumulation), num_processes * num_workers
            others = [StreamSampler(*shared, rank, num_processes, num_streams) for rank in range(num_processes)]
            assert np.array_equal(steps(others, start, layout=layout), whole[start:])


def test_steps_can_be_left_out():
    sampler = StreamSampler(SIZES, 8, 0, 20, gradient_accumulation_steps=2)
    whole = epoch_of(sampler, 1)
    assert epoch_of(sampler, 1, left_out=[16, 24]) == whole[:4] + whole[8:]
    assert epoch_of(sampler, 1, start_step=3, left_out=[16, 24]) == whole[8:]
    assert len(sampler) == len(whole)


def test_streams_that_do_not_divide_over_processes_are_refused():
    with pytest.raises(UserError, match="3 streams do not divide over 2 processes"):
        StreamSampler(SIZES, 8, 0, 20, num_processes=2, num_streams=3)


def test_a_row_group_is_held_from_before_its_first_row_to_its_last_and_never_again():
    for (sizes, *_), arguments in random_layouts(150):
        group_of = np.repeat(np.arange(len(sizes)), sizes)
        num_held = 0
        for each in arguments:
            batches = sorted(epoch_of(StreamSampler(*each), epoch=1), key=lambda batch: batch.stream)
            for _, stream in groupby(batches, lambda batch: batch.stream):
                stream = list(stream)
                used = [set(group_of[batch.indices].tolist()) for batch in stream]
                held = [set(batch.row_groups) for batch in stream]
                ever_used = set().union(*used)
                num_held += len(ever_used)
                assert set().union(*held) == ever_used
                begun = set()
                for number, (needed, now) in enumerate(zip(used, held)):
                    begun |= needed
                    assert needed | set().union(*used[number + 1 : number + 2]) <= now
                    assert now - begun or begun == ever_used  # one more is read ahead as long as there is one
                    assert now <= set().union(*used[number:])  # and nothing is held that has been used up
                for row_group in ever_used:
                    times = [number for number, now in enumerate(held) if row_group in now]
                    assert times == list(range(times[0], times[-1] + 1))
        # Streams share at most one row group with the next.
        assert num_held <= (sizes > 0).sum() + arguments[0][-1] - 1


def test_the_buffer_bounds_what_a_stream_holds_in_memory():
    sizes, buffer = np.full(400, 25), 1000
    held_rows, given = {}, Counter()
    most = 0
    for batch in epoch_of(StreamSampler(sizes, 10, 0, buffer), epoch=1):
        given.update(index // 25 for index in batch.indices)
        held_rows = {row_group: 25 - given[row_group] for row_group in batch.row_groups}
        most = max(most, sum(held_rows.values()))
    # Each row waits up to 2 * buffer rows, on average for buffer; three standard deviations of the sum are 100 rows.
    assert buffer <= most <= buffer + 2 * 25 + 100
    assert max(len(batch.row_groups) for batch in epoch_of(StreamSampler(sizes, 10, 0, buffer), 1)) <= 2000 // 25 + 4


@pytest.mark.parametrize("buffer", [500, 1000])
def test_rows_sorted_by_class_are_shuffled_as_well_as_by_datasets_own_buffer(buffer):
    sizes, num_rows, batch_size = np.full(500, 20), 10_000, 32

    def classes_per_batch(indices):
        return [len(set(batch)) for batch in np.array(indices).reshape(-1, batch_size) // 100]  # 100 classes

    batches = epoch_of(StreamSampler(sizes, batch_size, 0, buffer), epoch=1)
    ours = classes_per_batch([index for batch in batches for index in batch.indices])
    rows = Dataset.from_dict({"row": range(num_rows)}).to_iterable_dataset(num_shards=500)
    order = [row["row"] for row in rows.shuffle(seed=0, buffer_size=buffer)]
    reference = classes_per_batch(order[: num_rows // batch_size * batch_size])
    uniform = 100 * (1 - 0.99**batch_size)  # 27.5: classes expected in a batch of independent draws
    print(np.mean(ours), np.mean(reference), uniform)
    assert np.mean(ours) >= 0.95 * np.mean(reference)
    middle = ours[len(ours) // 4 : -len(ours) // 4]
    assert np.mean(middle) >= {500: 0.75, 1000: 0.85}[buffer] * uniform
    unshuffled = epoch_of(StreamSampler(sizes, batch_size, 0, 0), epoch=1)
    assert np.mean(classes_per_batch([index for batch in unshuffled for index in batch.indices])) < 3


def test_rows_are_equally_likely_at_the_beginning_and_at_the_end_of_an_epoch():
    sizes = np.full(50, 4)
    places = np.zeros((200, 200))
    for epoch in range(200):
        order = [
            index for batch in epoch_of(StreamSampler(sizes, 4, 7, 30, num_streams=2), epoch) for index in batch[2]
        ]
        places[order, np.arange(200)] += 1
    by_quarter = places.reshape(200, 4, 50).sum(2)  # each row, 200 times over four quarters: 50 ± 6.1
    assert abs(by_quarter - 50).max() < 5 * 6.2


@pytest.mark.parametrize("num_processes", [1, 2, 3, 7])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_evaluation_sees_each_row_once_and_in_each_worker_from_beginning_to_end(num_processes, num_workers):
    parts = [
        list(StreamedEvaluationSampler(SIZES, 4, rank, num_processes, num_workers)) for rank in range(num_processes)
    ]
    workers = [part[worker :: max(1, num_workers)] for part in parts for worker in range(max(1, num_workers))]
    seen = [index for worker in workers for batch in worker for index in batch.indices]
    assert seen == list(range(71))
    for worker in workers:
        assert len({batch.stream for batch in worker}) <= 1
    for rank, part in enumerate(parts):
        assert len(StreamedEvaluationSampler(SIZES, 4, rank, num_processes, num_workers)) == len(part)


# Rows


def test_a_split_is_known_from_its_footers(split, shards):
    assert len(split) == 71
    assert split.row_group_sizes.tolist() == SIZES.tolist()
    assert split.features["label"].names == NAMES
    assert split.features == load_evaluation_split(str(shards), "train").features
    assert len(open_streamed_split(str(shards), ["val", "validation", "test"])) == 9
    assert len(open_streamed_split(str(shards / "train-00002-of-00004.parquet"), ["train"])) == 21


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_deliver_what_the_sampler_says_with_the_pixels_of_images_that_are_here(split, shards, num_workers):
    here = ImageBatches(load_evaluation_split(str(shards), "train"), TRANSFORM, seed=5)
    sampler = StreamSampler(split.row_group_sizes, 6, 5, 15, num_streams=max(1, num_workers))
    device, mean, std = torch.device("cpu"), [0.0] * 3, [1.0] * 3
    loader = DeviceLoader(StreamedImageBatches(split, TRANSFORM, seed=5), sampler, device, mean, std, num_workers)
    for epoch, start_step in ((1, 0), (2, 0), (2, 7)):
        expected = epoch_of(sampler, epoch, start_step)
        assert len(expected) == 11 - start_step
        for batch, plan in zip(loader, expected, strict=True):
            reference = here.__getitems__([(epoch, index) for index in plan.indices])
            assert torch.equal(batch["pixel_values"], reference["pixel_values"].float() / 255)
            assert batch["labels"].tolist() == [index % 4 for index in plan.indices]


def test_rows_come_in_workers_also_after_some_were_read_in_their_parent(split):
    batches = StreamedImageBatches(split, EvaluationTransform(Preprocessing(16, 16, "bilinear")))
    labels = []
    for num_workers in (0, 1):
        sampler = StreamedEvaluationSampler(split.row_group_sizes, 8, num_workers=num_workers)
        loader = DeviceLoader(batches, sampler, torch.device("cpu"), [0.0] * 3, [1.0] * 3, num_workers)
        labels.append([label for batch in loader for label in batch["labels"].tolist()])
    assert labels[0] == labels[1] == [row % 4 for row in range(71)]


def test_batches_can_be_sent_to_workers_that_are_not_forked(split):
    batches = pickle.loads(pickle.dumps(StreamedImageBatches(split, TRANSFORM)))
    sampler = StreamSampler(split.row_group_sizes, 6, 0, 15)
    first = epoch_of(sampler, 1)[0]
    assert batches.__getitems__(first)["labels"].tolist() == [index % 4 for index in first.indices]


@pytest.mark.parametrize(("num_streams", "start_step"), [(1, 0), (2, 0), (3, 5)])
def test_each_row_group_is_read_once_in_an_epoch_and_once_more_where_streams_meet(
    split, reads, num_streams, start_step
):
    sampler = StreamSampler(split.row_group_sizes, 3, 1, 12, num_streams=num_streams)
    workers = [StreamedImageBatches(split, TRANSFORM) for _ in range(num_streams)]
    group_of = np.repeat(np.arange(len(SIZES)), SIZES)
    for epoch in (1, 2):
        reads.clear()
        expected = Counter()
        plan = epoch_of(sampler, epoch, start_step)
        for number in range(num_streams):
            mine = plan[number::num_streams]
            for batch in mine:
                workers[number].__getitems__(batch)
            expected.update({int(group_of[index]) for batch in mine for index in batch.indices})
        assert Counter(reads) == expected
        assert len(reads) <= len(SIZES) + num_streams - 1


def test_the_next_row_group_is_read_before_this_one_is_used_up(split, reads):
    sampler = StreamSampler(split.row_group_sizes, 1, 0, 0)
    group_of = np.repeat(np.arange(len(SIZES)), SIZES)
    plan = epoch_of(sampler, 1)
    order = [group for group, _ in groupby(group_of[batch.indices[0]].item() for batch in plan)]
    batches = StreamedImageBatches(split, TRANSFORM)
    for batch, following in pairwise(plan):
        batches.__getitems__(batch)
        now = order.index(group_of[batch.indices[0]])
        for row_group in order[now + 1 : now + 2]:
            # It ends without anybody asking for a row of it.
            batches.images._reads[row_group].result(timeout=100)
            assert row_group in reads
        assert group_of[following.indices[0]] in order[now : now + 2]


def test_any_row_can_be_asked_for_again(split, reads):
    batches = StreamedImageBatches(split, TRANSFORM)
    batch = streaming.StreamedBatch(1, 0, [0, 70, 0, 35], [])
    first, again = batches.__getitems__(batch), batches.__getitems__(batch)
    assert first["labels"].tolist() == again["labels"].tolist() == [0, 2, 0, 3]
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    assert torch.equal(first["pixel_values"][0], first["pixel_values"][2])
    assert len(reads) == 4 + 4  # row 0 is forgotten when it is given out


def test_unreadable_image_is_replaced_by_the_next_one(tmp_path):
    write_shard(tmp_path / "train.parquet", range(8), [3, 3, 2])
    table = pq.read_table(tmp_path / "train.parquet")
    rows = table.to_pydict()
    rows["image"][2] = {"bytes": b"not an image", "path": "2.jpg"}
    broken = Dataset.from_dict(rows, features=Features.from_arrow_schema(table.schema))
    pq.write_table(broken.data.table.cast(table.schema), tmp_path / "train.parquet", row_group_size=3)
    split = open_streamed_split(str(tmp_path), ["train"])
    batch = streaming.StreamedBatch(1, 0, [1, 2, 3], [0, 1])
    error = StreamedImageBatches(split, TRANSFORM).__getitems__(batch)
    assert isinstance(error, UserError)
    assert "2.jpg (row 2)" in str(error)
    seen = StreamedImageBatches(split, TRANSFORM, on_bad_image="skip").__getitems__(batch)
    assert seen["labels"].tolist() == [1, 3, 3]
    assert len(seen["bad_images"]) == 1


# What can be wrong


def test_what_cannot_be_streamed_is_refused(shards, image_folder, tmp_path):
    with pytest.raises(UserError, match=r"has no split 'dev'; it has: train, validation"):
        open_streamed_split(str(shards), ["dev"])
    with pytest.raises(UserError, match="is not in parquet shards, so it cannot be streamed"):
        open_streamed_split(str(image_folder), ["train"])
    with pytest.raises(UserError, match="no column 'kind'; there are: image, label"):
        open_streamed_split(str(shards), ["train"], label_column="kind")
    write_shard(tmp_path / "empty" / "train.parquet", range(0), [0], labels=[])
    with pytest.raises(UserError, match="the split is empty"):
        open_streamed_split(str(tmp_path / "empty"), ["train"])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"PAR1 and no footer")
    with pytest.raises(UserError, match=r"cannot read .*damaged"):
        open_streamed_split(str(tmp_path / "damaged"), ["train"])


def test_values_that_occur_are_the_classes_where_none_are_named_and_wordnet_ids_become_words(tmp_path):
    write_shard(tmp_path / "numbers" / "train.parquet", range(9), [4, 5], Value("int64"), [0, 5] * 4 + [2])
    assert open_streamed_split(str(tmp_path / "numbers"), ["train"]).label_names == ["0", "2", "5"]
    write_shard(tmp_path / "words" / "train.parquet", range(2), [2], Value("string"), ["bee", "ant"])
    assert open_streamed_split(str(tmp_path / "words"), ["train"]).label_names == ["ant", "bee"]
    write_shard(tmp_path / "shares" / "train.parquet", range(2), [2], Value("float32"), [0.5, 1.0])
    with pytest.raises(UserError, match="column 'label' must hold class numbers or names, not float"):
        open_streamed_split(str(tmp_path / "shares"), ["train"])
    wnids = ClassLabel(names=["n01440764", "n01443537"])
    write_shard(tmp_path / "wnids" / "train.parquet", range(2), [2], wnids, [0, 1])
    names = open_streamed_split(str(tmp_path / "wnids"), ["train"]).label_names
    assert names == ["tench, Tinca tinca", "goldfish, Carassius auratus"]


@pytest.mark.parametrize("labels", [[0, 1, -1], [None, 1, 2]])
def test_rows_without_a_class_are_refused_when_they_are_met(tmp_path, labels):
    write_shard(tmp_path / "train.parquet", range(3), [3], labels=labels)
    split = open_streamed_split(str(tmp_path), ["train"])
    sampler = StreamedEvaluationSampler(split.row_group_sizes, 3)
    loader = DeviceLoader(StreamedImageBatches(split, TRANSFORM), sampler, torch.device("cpu"), [0.0] * 3, [1.0] * 3)
    with pytest.raises(UserError, match=r"train.parquet has labels outside the 4 classes"):
        list(loader)


@pytest.mark.parametrize(
    ("what", "num_workers", "message"),
    [("gone", 1, r"the shard .*train.parquet is gone"), ("cut", 0, r"cannot read row group 1 of .*train.parquet: ")],
)
def test_a_shard_that_is_lost_under_way_is_named(tmp_path, what, num_workers, message):
    path = tmp_path / "train.parquet"
    write_shard(path, range(9), [4, 5])
    split = open_streamed_split(str(tmp_path), ["train"])
    if what == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: split.footers[0].row_group(1).column(0).data_page_offset + 100])
    sampler = StreamedEvaluationSampler(split.row_group_sizes, 3)
    batches = StreamedImageBatches(split, TRANSFORM)
    loader = DeviceLoader(batches, sampler, torch.device("cpu"), [0.0] * 3, [1.0] * 3, num_workers)
    with pytest.raises(UserError, match=message) as error:
        list(loader)
    assert "\n" not in str(error.value)


# On the Hub


def test_a_data_set_on_the_hub_is_held_at_its_revision_and_asked_again_after_failures(shards, tmp_path):
    program = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
from fork_server import read_again
from hub_server import HubServer

with HubServer() as hub:
    os.environ.update(hub.environment(Path({str(tmp_path)!r})))
    read_again()
    import datasets
    from modeling_resnet50.data import streaming
    from modeling_resnet50.data.preprocessing import Preprocessing
    from modeling_resnet50.data.transforms import EvaluationTransform
    from resnet50_recipe.errors import UserError

    datasets.config.USE_PARQUET_EXPORT = False  # which it would ask another server for
    streaming.RETRY_AFTER = (0, 0, 0)
    repo = hub.add_folder("ann/data", Path({str(shards)!r}), repo_type="dataset")
    pinned = repo.commits[0].oid
    split = streaming.open_streamed_split("ann/data", ["train"])
    assert (len(split), split.label_names) == (71, ["ant", "bee", "cat", "dog"])
    repo.commit("something else", {{path: b"other" for path in repo.files}})

    hub.requests.clear()
    sampler = streaming.StreamSampler(split.row_group_sizes, 6, 0, 20)
    batches = streaming.StreamedImageBatches(split, EvaluationTransform(Preprocessing(16, 16, "bilinear")))
    for batch in sampler:
        assert batches.__getitems__(batch)["labels"].tolist() == [index % 4 for index in batch.indices]
    files = [path for method, path in hub.requests if "/resolve/" in path]
    assert {{path.split("/resolve/")[1].split("/")[0] for path in files}} == {{pinned}}
    assert len(files) == len(split.row_groups)  # one request for each row group

    batches = streaming.StreamedImageBatches(split, EvaluationTransform(Preprocessing(16, 16, "bilinear")))
    batch = streaming.StreamedBatch(1, 0, [0, 1, 2], [0])
    hub.fail_next("GET", "train-00000", "cut")  # which huggingface_hub tries again by itself
    hub.fail_next("GET", "train-00000", 401, times=3)
    assert batches.__getitems__(batch)["labels"].tolist() == [0, 1, 2]
    assert not hub.faults
    hub.fail_next("GET", "train-00000", 401, times=4)
    error = batches.__getitems__(batch)
    assert isinstance(error, UserError) and not hub.faults
    print(error)
    try:
        streaming.open_streamed_split("ann/nothing", ["train"])
    except UserError as error:
        print(error)
"""
    result = run_python(["-c", program])
    assert result.returncode == 0, result.stderr
    unreadable, missing = result.stdout.splitlines()
    assert unreadable.startswith("cannot read row group 0 of datasets/ann/data@")
    assert "train-00000-of-00004.parquet: " in unreadable
    assert missing.startswith("dataset_name ann/nothing: neither a local folder nor a data set on the Hub")
