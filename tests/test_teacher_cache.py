"""What a teacher said is kept: training by it is the same to the bit, whoever wrote it, and whatever became of it."""

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from shared import PROJECT, save_teacher, tiny_arguments, write_image_folder

from modeling_resnet50.commands.plan import show
from modeling_resnet50.data.sampling import TrainSampler
from modeling_resnet50.plan import IMAGES_PER_SECOND, KNOWN_DATA, make_plan
from modeling_resnet50.training.losses import Teachers
from modeling_resnet50.training.teacher_cache import (
    SHAPE_THE_IMAGES,
    TeacherCache,
    cache_bytes,
    made_for,
    require_room,
)
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.training_arguments import TrainingArguments


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """Of the teachers, images each time."""
    calls: list[int] = []
    forward = Teachers.forward

    def counted(self, pixel_values):
        calls.append(len(pixel_values))
        return forward(self, pixel_values)

    monkeypatch.setattr(Teachers, "forward", counted)
    return calls


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Images and two teachers, for all tests."""
    root = tmp_path_factory.mktemp("taught")
    write_image_folder(root / "images")
    for seed, name in enumerate(("teacher", "another")):
        save_teacher(root / name, seed)
    return root


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "final" / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_weights_are_those_without_a_cache_and_another_student_never_asks(place, tmp_path, train, asked):
    fields = {
        "teacher": place / "teacher", "random_erasing": 0.5, "mixed_precision": "bf16",
        "image_size_start": 24, "image_size_ramp": [0, 1],
    }  # fmt: skip
    train(tiny_arguments(place / "images", tmp_path / "without", **fields))
    assert asked == [8] * 6
    for name, new in (("fills", 6), ("reads", 0)):
        asked.clear()
        train(tiny_arguments(place / "images", tmp_path / name, teacher_cache=tmp_path / "cache", **fields))
        assert len(asked) == new
        assert same(tmp_path / "without", tmp_path / name)
    kept = np.load(tmp_path / "cache" / "epoch-0001.npy")
    assert (kept.shape, kept.dtype["logits"]) == ((24,), np.dtype(("<u2", (3,))))
    # Another batch and learning rate, and fewer epochs: what it shares is there.
    fields |= {"num_train_epochs": 1, "learning_rate": 0.01, "warmup_epochs": 0, "total_train_batch_size": 6}
    train(tiny_arguments(place / "images", tmp_path / "other", teacher_cache=tmp_path / "cache", **fields))
    assert not asked


def test_images_that_meet_in_a_step_are_kept_as_they_met_and_what_is_half_written_is_worked_out_again(
    place, tmp_path, train, asked
):
    fields = {
        "teacher": place / "teacher", "mixup_alpha": 0.4, "cutmix_alpha": 1.0, "augmentation_repeats": 2,
        "distinct_epochs": 2, "num_train_epochs": 3, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    train(tiny_arguments(place / "images", tmp_path / "without", **fields))
    assert asked == [4] * 18
    fields["teacher_cache"] = tmp_path / "cache"
    first, second = (tmp_path / "cache" / f"epoch-000{epoch}.npy" for epoch in (1, 2))
    for name, new in (("fills", 12), ("mends", 2 + 6), ("reads", 0)):
        asked.clear()
        train(tiny_arguments(place / "images", tmp_path / name, **fields))
        assert len(asked) == new, name
        assert same(tmp_path / "without", tmp_path / name), name
        if name == "fills":
            row = (first.stat().st_size - 256) // 24
            content = bytearray(first.read_bytes())
            content[256 + 3 * row : 256 + 4 * row] = bytes(row)  # never written
            content[256 + 12 * row + 6] ^= 1  # a bit of another batch
            first.write_bytes(content)
            os.truncate(second, 100)  # killed when it was made


def test_a_resumed_run_reads_what_it_wrote_before(place, tmp_path, train, asked):
    fields = {"teacher": place / "teacher", "checkpoint_every_epochs": 1, "teacher_cache": tmp_path / "cache"}
    arguments = tiny_arguments(place / "images", tmp_path / "run", **fields)
    train(arguments)
    whole = weights(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "epoch-0002").rename(tmp_path / "epoch-0002")
    asked.clear()
    train([*arguments, "--resume_from_checkpoint", "latest"])
    assert not asked
    assert all(torch.equal(whole[name], tensor) for name, tensor in weights(tmp_path / "run").items())


def caches(folder: Path, processes: int, passes: int = 1) -> list[tuple[TrainSampler, TeacherCache]]:
    """Of each process of a run, for 20 images, four a step."""
    found = []
    for rank in range(processes):
        sampler = TrainSampler(20, 4, 0, passes, process_index=rank, num_processes=processes)
        sampler.start(3)
        found.append((sampler, TeacherCache(folder, {"of": "them"}, sampler.place_of, (20, 5), report=print)))
    return found


def batches(sampler: TrainSampler):
    for number, samples in enumerate(sampler):
        indices = [index for _, index in samples]
        # A teacher whose answer is the image's number.
        yield {"number": number, "indices": indices, "pixel_values": torch.tensor(indices).float()}


def answer(batch) -> torch.Tensor:
    return batch["pixel_values"][:, None] + torch.arange(5) / 8


def never() -> torch.Tensor:
    raise AssertionError("it is there")


@pytest.mark.parametrize(("writers", "readers"), [((2, 1), (1, 1)), ((1, 2), (4, 1)), ((1, 1), (2, 2))])
def test_any_number_of_processes_writes_and_any_other_reads(writers, readers, tmp_path):
    for sampler, cache in caches(tmp_path, *writers):
        for batch in batches(sampler):
            assert torch.equal(cache(batch, lambda batch=batch: answer(batch)), answer(batch))
    for sampler, cache in caches(tmp_path, *readers):
        for batch in batches(sampler):
            assert torch.equal(cache(batch, never), answer(batch))
    kept = np.load(tmp_path / "epoch-0003.npy")
    assert (kept["check"] != 0).all()
    ((sampler, _),) = caches(tmp_path, 1)
    order = [index for batch in sampler for _, index in batch]
    assert kept["logits"][:, 0].tolist() == order


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_logits_come_back_to_the_bit_in_their_own_type(dtype, tmp_path):
    ((sampler, cache),) = caches(tmp_path, 1)
    batch = next(batches(sampler))
    logits = torch.randn(4, 5).to(dtype)
    logits[0, :3] = torch.tensor([float("inf"), float("nan"), -0.0])
    cache(batch, lambda: logits)
    back = cache(batch, never)
    assert back.dtype == dtype
    assert torch.equal(back.view(torch.uint8), logits.view(torch.uint8))
    other = next(iter({torch.float32, torch.float16} - {dtype}))
    batch["number"] = 1
    with pytest.raises(UserError, match=f"has logits in {dtype}, and the teacher gives {other} now"):
        cache(batch, lambda: logits.to(other))


def test_a_cache_of_something_else_is_refused_by_its_difference(place, tmp_path, train):
    def arguments(name, teacher="teacher", **fields):
        fields |= {"teacher": place / teacher, "num_train_epochs": 1, "warmup_epochs": 0}
        return tiny_arguments(place / "images", tmp_path / name, teacher_cache=tmp_path / "cache", **fields)

    train(arguments("run"))
    for fields, difference in (
        ({"teacher": "another"}, r"teacher: \w{16} -> \w{16}"),
        ({"image_size": 24}, "image_size: 16 -> 24"),
        ({"seed": 3, "random_flip": 0.0}, "seed: 42 -> 3, random_flip: 0.5 -> 0.0"),
        ({"max_train_samples": 23}, r"images: \w{16} -> \w{16}"),
        ({"mixed_precision": "bf16"}, "mixed_precision: no -> bf16"),
        ({"mixup_alpha": 0.1}, "mixup_alpha: 0.0 -> 0.1, total_train_batch_size: None -> 8"),
    ):
        with pytest.raises(UserError, match=rf"cache was made for something else \({difference}\): choose another"):
            train(arguments("other", **fields))
        assert not (tmp_path / "other").exists()


def test_every_field_that_shapes_the_images_is_held():
    page = (PROJECT / "docs" / "recipes.md").read_text()
    section = re.search(r"### Images as the network sees them\n(.*?)\n###", page, re.DOTALL)[1]
    fields = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
    of_validation = {"eval_image_size", "eval_crop_ratio", "crop_mode"}
    assert fields - of_validation - {"distinct_epochs"} <= {*SHAPE_THE_IMAGES}
    assert all(hasattr(Recipe(), name) for name in SHAPE_THE_IMAGES)
    # Where images meet in a step, its size decides who meets whom.
    module = torch.nn.Linear(2, 2)
    for recipe, there in ((Recipe(), False), (Recipe(cutmix_alpha=1.0), True), (Recipe(augmentation_repeats=3), True)):
        assert ("total_train_batch_size" in made_for(recipe, "no", module, {})) == there


def test_a_folder_without_answers_is_anybodys_and_one_that_does_not_say_whose_is_nobodys(tmp_path):
    ((sampler, _),) = caches(tmp_path, 1)
    TeacherCache(tmp_path, {"of": "others"}, sampler.place_of, (20, 5), report=print)
    assert json.loads((tmp_path / "made_for.json").read_text()) == {"of": "others"}
    (tmp_path / "epoch-0001.npy").touch()
    (tmp_path / "made_for.json").write_text("{")
    with pytest.raises(UserError, match="does not say what it was made for"):
        caches(tmp_path, 1)


def test_a_full_disk_is_said_once_and_the_teacher_works_on(tmp_path, monkeypatch):
    said: list[str] = []
    ((sampler, cache),) = caches(tmp_path, 1)
    cache.report = said.append

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "epoch-0003.npy")

    monkeypatch.setattr(cache, "_write", full)
    for batch in batches(sampler):
        assert torch.equal(cache(batch, lambda batch=batch: answer(batch)), answer(batch))
    assert len(said) == 1
    assert "No space left on device" in said[0]
    with pytest.raises(UserError, match=r"will take 1,000,000\.0 GB, and its disk has .* GB free"):
        require_room(tmp_path / "new" / "folder", int(1e15))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher_cache": "x"}, "teacher_cache keeps what a teacher says, and there is none"),
        ({"teacher_cache": "x", "teacher": "a", "streaming": True}, "which streaming has not"),
        ({"distinct_epochs": 0}, "distinct_epochs must be at least 1"),
        (
            {"distinct_epochs": 5, "image_size_start": 96, "image_size_ramp": [3, 9]},
            "repeats epochs as they were, and image_size_ramp changes them",
        ),
        ({"distinct_epochs": 5, "mixup_alpha": 0.1, "mixup_off_epoch": 80}, "and mixup_off_epoch changes them"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        TrainingArguments(**fields)


def test_epochs_begin_again():
    assert [Recipe(distinct_epochs=3).draws_of(epoch) for epoch in range(1, 8)] == [1, 2, 3, 1, 2, 3, 1]
    assert [Recipe().draws_of(epoch) for epoch in (1, 90)] == [1, 90]
    assert Recipe(distinct_epochs=100).drawn_epochs == Recipe().drawn_epochs == 90


def test_a_plan_says_how_large_it_becomes_and_what_it_saves(capsys):
    fields = {"teacher": "timm/resnet18", "distinct_epochs": 30, "mixed_precision": "fp16"}
    imagenet = KNOWN_DATA["ILSVRC/imagenet-1k"]
    without = make_plan(TrainingArguments(**fields), imagenet)
    kept = make_plan(TrainingArguments(**fields, teacher_cache="x"), imagenet, 8)
    # 1,000 classes in 2 bytes and a check of 4 for each of 1,281,167 images.
    assert kept.cache_size == without.cache_size == 30 * (1_281_167 * 2004 + 256)
    taught = 5004 * 256 * without.teacher_flops
    assert without.total_flops - kept.total_flops == pytest.approx(60 * taught, rel=1e-9)
    saved = kept.hours(2470, without.reference_images) - kept.hours(2470)
    assert saved == pytest.approx(kept.hours(2470, sum(kept.teaching[30:])), rel=1e-6)
    show(kept)
    text = capsys.readouterr().out
    hours = [kept.hours(IMAGES_PER_SECOND["A100"], sum(epochs)) for epochs in (kept.teaching[30:], kept.teaching)]
    assert f"77.0 GB for 30 epochs; saves {60 * hours[0]:.1f} minutes on 8 × A100" in text
    assert f"and the next student {60 * hours[1]:.1f} minutes" in text
    # Without mixed precision, and of several teachers, 4 bytes.
    assert cache_bytes(Recipe(teacher="a"), "no", 512, 10) == 90 * (512 * 44 + 256)
    assert cache_bytes(Recipe(teacher=["a", "b"]), None, 512, 10) == 90 * (512 * 44 + 256)
