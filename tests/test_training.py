"""The loop, run for real on small data: what it computes, what it leaves behind, how it resumes, what it refuses."""

import errno
import json
import math
import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate import Accelerator
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from shared import PROJECT, TINY, UNDRAWN, run_python, run_ranks, tiny_arguments, write_image, write_shards
from torch import nn
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline

from modeling_resnet50 import ResNet50ForImageClassification, files
from modeling_resnet50.architecture import model_config
from modeling_resnet50.data import loader
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.training import run_folder
from modeling_resnet50.training.distributed import CPUSyncBatchNorm2d, check_images_fit
from modeling_resnet50.training.optimization import create_optimizer, learning_rate_schedule
from resnet50_recipe.errors import UserError, user_errors_exit_cleanly
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.training_arguments import TrainingArguments


METRICS = [
    "epoch", "step", "train_loss", "train_top1", "images_per_second",
    "data_wait", "bad_images", "val_loss", "val_top1", "val_top5", "val_macro_precision", "val_macro_recall",
    "val_macro_f1", "val_weighted_precision", "val_weighted_recall", "val_weighted_f1", "val_balanced_accuracy",
    "val_cohen_kappa", "learning_rate", "skipped_steps", "left_out_steps", "seconds",
]  # fmt: skip
CLOCKED = ("images_per_second", "data_wait", "seconds")


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        if tolerance:
            torch.testing.assert_close(a[name], b[name], **tolerance, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(a[name], b[name]), name


# Optimizer and schedule


def test_optimizer_is_plain_sgd_with_decay_on_every_parameter(tiny_config):
    model = ResNet50ForImageClassification(tiny_config)
    reference = ResNet50ForImageClassification(tiny_config)
    reference.load_state_dict(model.state_dict())
    ours = create_optimizer(model, TrainingArguments(learning_rate=0.2, momentum=0.8, weight_decay=0.01))
    theirs = torch.optim.SGD(reference.parameters(), lr=0.2, momentum=0.8, weight_decay=0.01)
    for _ in range(3):
        pixel_values = torch.randn(4, 3, 32, 32)
        for each, optimizer in ((model, ours), (reference, theirs)):
            optimizer.zero_grad()
            each(pixel_values, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
            optimizer.step()
    assert_same_weights(model.state_dict(), reference.state_dict())


def test_learning_rate_at_four_points():
    lr_at = learning_rate_schedule(
        TrainingArguments(learning_rate=0.1, warmup_epochs=5.0, num_train_epochs=90), steps_per_epoch=100
    )
    assert lr_at(0) == pytest.approx(0.1 / 500)
    assert lr_at(499) == lr_at(500) == pytest.approx(0.1)
    assert lr_at(500 + 8500 // 2) == pytest.approx(0.05)
    assert lr_at(8999) == pytest.approx(0.05 * (1 + math.cos(math.pi * 8499 / 8500)))


def test_cosine_equals_pytorchs_after_warm_up():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=80)
    lr_at = learning_rate_schedule(TrainingArguments(warmup_epochs=1.0, num_train_epochs=9), steps_per_epoch=10)
    for step in range(10, 90):
        assert lr_at(step) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("kind", "half", "end"), [("linear", 0.05, 0.001), ("constant", 0.1, 0.1)])
def test_other_schedules(kind, half, end):
    recipe = TrainingArguments(warmup_epochs=0.0, num_train_epochs=10, lr_scheduler_type=kind)
    lr_at = learning_rate_schedule(recipe, steps_per_epoch=10)
    assert (lr_at(0), lr_at(50), lr_at(99)) == pytest.approx((0.1, half, end))


# A whole run


@pytest.fixture
def finished_run(trained):
    """To be read."""
    return trained(total_train_batch_size=12, checkpoint_every_epochs=1)


@pytest.fixture
def copied_run(finished_run, tmp_path):
    return shutil.copytree(finished_run, tmp_path / "run")


def test_a_run_leaves_all_it_promises(finished_run):
    assert {p.name for p in finished_run.iterdir()} == {
        "recipe.yaml", "metrics.jsonl", "environment.json", "status.json", "best", "final", "checkpoints",
        "first_batch.png", "training_curves.png", "contents.json", "recent_steps.jsonl",
    }  # fmt: skip
    assert {p.name for p in (finished_run / "checkpoints").iterdir()} == {"epoch-0001", "epoch-0002"}
    promised = {
        "config.json", "model.safetensors", "preprocessor_config.json", "README.md",
        "configuration_resnet50.py", "modeling_resnet50.py",
        "training_curves.png", "training_metrics.jsonl", "recipe.yaml",
    }  # fmt: skip
    for name in ("best", "final"):
        assert {p.name for p in (finished_run / name).iterdir()} == promised
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4)]
    assert all(list(row) and set(row) == set(METRICS) for row in rows)
    assert yaml.safe_load((finished_run / "recipe.yaml").read_text())["num_train_epochs"] == 2


def test_saved_model_classifies_through_a_pipeline_with_the_data_sets_names(finished_run, image_folder):
    classify = pipeline("image-classification", model=str(finished_run / "best"))
    answer = classify(str(image_folder / "val" / "ant" / "0.jpg"), top_k=3)
    assert {entry["label"] for entry in answer} == {"ant", "bee", "cat"}
    processor = AutoImageProcessor.from_pretrained(finished_run / "best")
    assert type(processor).__name__.startswith("BitImageProcessor")
    assert (processor.size["shortest_edge"], processor.crop_size["height"]) == (18, 16)
    assert list(processor.image_mean) == [0.485, 0.456, 0.406]


def test_model_card_states_the_runs_own_numbers(finished_run):
    from huggingface_hub import ModelCard

    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val_top1"])
    for folder, row in (("best", best), ("final", rows[-1])):
        card = ModelCard.load(finished_run / folder / "README.md")
        assert card.data.library_name == "transformers"
        assert card.data.eval_results[0].metric_value == round(row["val_top1"], 6)
        assert f"**{row['val_top1']:.0%}**" in card.text  # of 15 images
        assert str(finished_run) not in card.content


def test_ten_steps_equal_a_plain_pytorch_loop(image_folder, tmp_path, train):
    """The same weights as a loop of a few lines on the same batches: no Accelerate, no recipe."""
    from modeling_resnet50.data.augmentation import TrainingTransform
    from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
    from modeling_resnet50.data.sampling import TrainSampler
    from modeling_resnet50.data.sources import load_train_and_validation
    from resnet50_recipe.recipe_file import parse_recipe

    settings = {"total_train_batch_size": 4, "warmup_epochs": 0, "learning_rate": 0.1}
    arguments = tiny_arguments(image_folder, tmp_path / "run", **settings)
    train(arguments)
    recipe = parse_recipe(arguments)
    images, _ = load_train_and_validation(recipe)
    sampler = TrainSampler(24, 4, recipe.seed)
    batches = ImageBatches(images, TrainingTransform(recipe), recipe.seed)
    loader = DeviceLoader(batches, sampler, torch.device("cpu"), recipe.image_mean, recipe.image_std)
    torch.manual_seed(recipe.seed)
    model = ResNet50ForImageClassification(model_config(recipe, ["ant", "bee", "cat"]))
    model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for epoch in (1, 2):
        sampler.start(epoch)
        for batch in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch["pixel_values"]).logits, batch["labels"]).backward()
            optimizer.step()
            scheduler.step()
    assert_same_weights(weights_of(tmp_path / "run" / "final"), model.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_at_an_epoch_boundary_is_bit_identical(trained, tmp_path, train, num_workers):
    settings = {"num_train_epochs": 3, "checkpoint_every_epochs": 1}
    whole = trained(**settings)
    resumed = shutil.copytree(whole, tmp_path / "resumed")
    settings |= {"dataloader_num_workers": num_workers}
    checkpoint = resumed / "checkpoints" / "epoch-0001"
    train(tiny_arguments(whole.parent / "images", resumed, **settings, resume_from_checkpoint=checkpoint))
    for folder in ("final", "best"):
        assert_same_weights(weights_of(whole / folder), weights_of(resumed / folder))
    rows = [
        [{k: v for k, v in json.loads(line).items() if k not in CLOCKED} for line in path.read_text().splitlines()]
        for path in (whole / "metrics.jsonl", resumed / "metrics.jsonl")
    ]
    assert rows[0] == rows[1]


def test_resume_latest_takes_the_newest_and_a_finished_run_stays_as_it_is(finished_run, copied_run, train, capsys):
    before = weights_of(copied_run / "final")
    images = finished_run.parent / "images"
    train(tiny_arguments(images, copied_run, total_train_batch_size=12, resume_from_checkpoint="latest"))
    assert "epoch-0002: 2 epochs, 4 steps done" in capsys.readouterr().out
    assert_same_weights(weights_of(copied_run / "final"), before)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_loss_falls(image_folder, tmp_path, train, precision):
    whole_image = {"random_crop_scale": [1, 1], "random_crop_ratio": [1, 1]}
    settings = {"num_train_epochs": 10, "warmup_epochs": 0, "total_train_batch_size": 24, "random_flip": 0}
    arguments = tiny_arguments(image_folder, tmp_path / "run", **settings, **whole_image)
    train([*arguments, "--mixed_precision", precision, "--learning_rate", "0.4"])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]


def test_output_is_a_readable_table_when_piped(image_folder, tmp_path):
    result = run_python(["train.py", *tiny_arguments(image_folder, tmp_path / "run")])
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    header = next(index for index, line in enumerate(lines) if line.split()[:2] == ["epoch", "step"])
    assert [line.split()[0] for line in lines[header + 1 : header + 3]] == ["1", "2"]
    row = re.sub(
        r"(  data wait \d+%)?(  best)?$", "", lines[header + 1]
    )  # remarks, the first by how busy the machine is
    assert len(lines[header]) == len(row)
    assert "\x1b" not in result.stdout
    assert "\r" not in result.stdout + result.stderr
    folder = tmp_path / "run" / "best"
    assert Image.open(folder / "training_curves.png").size == (1200, 780)
    assert lines[-3:] == [
        "import modeling_resnet50",
        "from transformers import AutoModelForImageClassification",
        f'model = AutoModelForImageClassification.from_pretrained("{folder}")',
    ]
    program = "\n".join([*lines[-3:], "print(type(model).__name__)"])
    assert run_python(["-c", program]).stdout.strip() == "ResNet50ForImageClassification"


def tensorboard_of(run: Path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return event_accumulator.EventAccumulator(str(run / "logs" / "resnet50")).Reload()


# Accumulation and several processes


def run_two_ranks(arguments: list[str]):
    result = run_ranks([UNDRAWN, *arguments])
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 processes on cpu" in result.stdout
    assert result.stdout.count("run folder") == 1  # only rank 0 prints
    return result


def parameters_of(folder):
    return {
        name: value for name, value in weights_of(folder).items() if "running" not in name and "tracked" not in name
    }


def test_two_ranks_end_with_the_weights_of_one_process_that_accumulates_the_same_halves(image_folder, tmp_path, train):
    watch = {"report_to": "tensorboard", "logging_steps": 1}
    run_two_ranks(tiny_arguments(image_folder, tmp_path / "two", **watch))
    train(tiny_arguments(image_folder, tmp_path / "one", gradient_accumulation_steps=2, **watch))
    assert_same_weights(
        parameters_of(tmp_path / "two" / "final"), parameters_of(tmp_path / "one" / "final"), rtol=1e-4, atol=1e-6
    )
    # What the tracker is told of a step is the mean over the processes, and told once.
    for name in ("loss", "top1", "grad_norm"):
        two, one = (
            [(event.step, event.value) for event in tensorboard_of(tmp_path / run).Scalars(f"train/{name}")]
            for run in ("two", "one")
        )
        assert [step for step, _ in two] == [1, 2, 3, 4, 5, 6]
        assert [value for _, value in two] == pytest.approx([value for _, value in one], rel=1e-3)


MIXED_AND_AVERAGED = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "ema_decay": 0.7}


def test_two_ranks_with_synchronised_batch_norm_end_with_the_weights_of_one_process(image_folder, tmp_path, train):
    run_two_ranks(tiny_arguments(image_folder, tmp_path / "two", sync_batch_norm=True, **MIXED_AND_AVERAGED))
    train(tiny_arguments(image_folder, tmp_path / "one", **MIXED_AND_AVERAGED))
    for model in ("final", "final_average"):
        assert_same_weights(
            weights_of(tmp_path / "two" / model), weights_of(tmp_path / "one" / model), rtol=1e-3, atol=1e-5
        )
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for one, two in zip(*rows):
        assert one["val_top1"] == two["val_top1"]
        for name in ("train_loss", "val_loss"):
            assert one[name] == pytest.approx(two[name], rel=1e-4)


@pytest.mark.parametrize(
    ("accumulation", "fields"), [(8, {"ema_decay": 0.7}), (4, MIXED_AND_AVERAGED), (2, {"max_grad_norm": 0.1})]
)
def test_accumulated_small_batches_are_one_large_batch(accumulation, fields, image_folder, tmp_path, train):
    """BatchNorm is frozen, or it would see other batches."""
    for name, parts in (("large", 1), ("small", accumulation)):
        train(
            tiny_arguments(
                image_folder,
                tmp_path / name,
                num_train_epochs=1,
                gradient_accumulation_steps=parts,
                freeze_batch_norm=True,
                augmentation_repeats=2,
                **fields,
            )
        )
    for model in ("final", "final_average") if "ema_decay" in fields else ("final",):
        small, large = (weights_of(tmp_path / name / model) for name in ("small", "large"))
        assert_same_weights(small, large, rtol=1e-4, atol=1e-6)


@pytest.fixture
def shards(image_folder, tmp_path):
    return write_shards(image_folder, tmp_path / "shards")


def test_an_average_that_was_never_updated_is_no_model(image_folder, tmp_path, train, capsys):
    """Three steps an epoch, two epochs."""
    rows, said = {}, {}
    for every in (5, 7):
        train(tiny_arguments(image_folder, tmp_path / str(every), ema_decay=0.9, ema_every_steps=every))
        said[every] = capsys.readouterr().out
        lines = (tmp_path / str(every) / "metrics.jsonl").read_text().splitlines()
        rows[every] = ["average_val_top1" in json.loads(line) for line in lines]
    assert rows == {5: [False, True], 7: [False, False]}
    assert (tmp_path / "5" / "final_average").is_dir()
    assert not (tmp_path / "7" / "final_average").exists()
    assert "none: " not in said[5]
    assert "none: it would begin at step 7" in said[7]
    assert "none: the run ended before its first update" in said[7]


def test_streamed_run_resumes_bit_identically(shards, tmp_path, train):
    settings = {"streaming": True, "shuffle_buffer": 6, "dataloader_num_workers": 2, "checkpoint_every_epochs": 1}
    train(tiny_arguments(shards, tmp_path / "whole", **settings))
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    checkpoint = tmp_path / "resumed" / "checkpoints" / "epoch-0001"
    train(tiny_arguments(shards, tmp_path / "resumed", **settings, resume_from_checkpoint=checkpoint))
    assert_same_weights(weights_of(tmp_path / "whole" / "final"), weights_of(tmp_path / "resumed" / "final"))


def test_streamed_validation_is_that_of_the_folder(shards, image_folder, tmp_path, train):
    rows = []
    for name, arguments in (("folder", {"dataset_name": image_folder}), ("shards", {"streaming": True})):
        settings = {"dataset_name": shards, "learning_rate": 0.0, "weight_decay": 0.0, "num_train_epochs": 1}
        settings |= {"config_overrides": json.dumps({**TINY, "batch_norm_momentum": 1e-9}), **arguments}
        train(tiny_arguments(output_dir=tmp_path / name, **settings))
        rows.append(json.loads((tmp_path / name / "metrics.jsonl").read_text()))
    for metric in ("val_loss", "val_top1", "val_top5"):
        assert rows[0][metric] == pytest.approx(rows[1][metric], rel=1e-6)


def test_two_ranks_that_stream_end_with_the_weights_of_one_process_with_as_many_streams(shards, tmp_path, train):
    settings = {"streaming": True, "shuffle_buffer": 6}
    run_two_ranks(tiny_arguments(shards, tmp_path / "two", **settings))
    settings |= {"gradient_accumulation_steps": 2, "dataloader_num_workers": 2}
    train(tiny_arguments(shards, tmp_path / "one", **settings))
    assert_same_weights(
        parameters_of(tmp_path / "two" / "final"), parameters_of(tmp_path / "one" / "final"), rtol=1e-4, atol=1e-6
    )


def test_cpu_sync_batch_norm_on_one_process_is_batch_norm(tmp_path):
    ours, reference = CPUSyncBatchNorm2d(5), nn.BatchNorm2d(5)
    values = torch.randn(4, 5, 6, 7, requires_grad=True)
    copy = values.detach().clone().requires_grad_()
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        outputs = ours(values), reference(copy)
        for output in outputs:
            output.square().mul(torch.arange(7)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(values.grad, copy.grad, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours.state_dict().values(), reference.state_dict().values()):
        torch.testing.assert_close(one, other)


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_name": "./nowhere"}, "dataset_name ./nowhere: no such folder"),
        ({"learning_rate": -1}, "learning_rate must be 0 or more"),
        ({"warmup_epochs": 3}, "warmup_epochs must not be longer"),
        ({"gradient_accumulation_steps": 3}, "does not divide"),
        ({"mixed_precision": "fp16"}, "fp16 needs a GPU"),
        ({"report_to": "nobody"}, "no such tracker"),
        ({"resume_from_checkpoint": "latest"}, "no checkpoint in"),
        ({"image_size": 8, "gradient_accumulation_steps": 8}, r"BatchNorm cannot train on 1 image\(s\) of 8 pixels"),
        (
            {"image_size": 16, "image_size_start": 8, "image_size_ramp": [0, 1], "gradient_accumulation_steps": 8},
            r"BatchNorm cannot train on 1 image\(s\) of 8 pixels",
        ),
        ({"image_size": 4, "config_overrides": json.dumps({**TINY, "blur_pool": True})}, "of 4 pixels are too small"),
        (
            {"eval_image_size": 4, "config_overrides": json.dumps({**TINY, "blur_pool": True})},
            "of 4 pixels are too small",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_input_is_found_before_anything_is_written(image_folder, tmp_path, train, changes, message):
    if changes.get("mixed_precision") == "fp16" and torch.cuda.is_available():
        pytest.skip("here fp16 is possible")
    arguments = tiny_arguments(**{"dataset_name": image_folder, "output_dir": tmp_path / "run", **changes})
    with pytest.raises(UserError, match=message):
        train(arguments)
    assert not (tmp_path / "run").exists()


def test_finetuning_works_from_ten_photos_of_a_class_on(tmp_path, train, capsys, tiny_config):
    """20 photos and a model: 64 images a step become 8, and the learning rate an eighth."""
    for number in range(26):
        split, name = "val" if number >= 20 else "train", ("ant", "bee")[number % 2]
        write_image(tmp_path / "photos" / split / name / f"{number}.jpg", seed=number)
    processor = image_processor(
        Preprocessing.by_ratio(16, 0.95, "bicubic", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    save_model_and_processor(tmp_path / "model", ResNet50ForImageClassification(tiny_config), processor)
    arguments = [
        "--config", str(PROJECT / "recipes" / "finetune.yaml"), "--dataset_name", str(tmp_path / "photos"),
        "--model_name_or_path", str(tmp_path / "model"), "--image_size", "16", "--num_train_epochs", "2",
        "--dataloader_num_workers", "0", "--output_dir", str(tmp_path / "run"),
    ]  # fmt: skip
    train(arguments)
    said = capsys.readouterr().out
    assert "for 20 training images: --total_train_batch_size 8 instead of 64 (fit_batch_to_data)" in said
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert (recipe["total_train_batch_size"], recipe["learning_rate"]) == (8, 0.01 / 8)
    assert [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").open()] == [2, 4]
    train([*arguments, "--resume_from_checkpoint", "latest"])  # the same recipe again


@pytest.mark.parametrize(
    ("images", "processes", "size"),
    [(256, 1, 64), (255, 1, 32), (45, 1, 8), (20, 1, 8), (3, 1, 8), (45, 16, 16), (45, 3, 64), (10_000, 1, 64)],
)
def test_the_batch_that_fits_leaves_four_steps_and_divides_over_the_processes(images, processes, size):
    recipe = TrainingArguments(total_train_batch_size=64, fit_batch_to_data=True)
    assert recipe.fitting_batch_size(images, processes) == size
    assert TrainingArguments(total_train_batch_size=64).fitting_batch_size(images, processes) == 64


@pytest.mark.parametrize(("images", "size"), [(1, 1), (7, 1), (8, 2), (45, 8), (63, 8), (64, None)])
def test_too_few_images_name_the_option_that_would_do(images, size):
    recipe = TrainingArguments(total_train_batch_size=64)
    with nullcontext() if size is None else pytest.raises(UserError, match=rf": --total_train_batch_size {size}$"):
        recipe.check_fills_a_batch(images)


def disk_that_is_full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_where_nothing_can_be_written_a_run_ends_before_it_reads_data(image_folder, tmp_path, train, monkeypatch):
    monkeypatch.setattr(train.script, "load_training_data", lambda *_: pytest.fail("first the place, then the data"))
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file", "file/runs/1", "link", "link/1"):
        with pytest.raises(UserError, match=rf"{tmp_path}/(file|link) is (not a folder|a link to)"):
            train(tiny_arguments(image_folder, tmp_path / place))
    for number in (errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT):

        def refuse(dir, number=number):
            raise OSError(number, os.strerror(number), f"{dir}/xyz")

        monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
        with pytest.raises(
            UserError, match=f"cannot (open or )?write {tmp_path}/xyz: {os.strerror(number)}. (Make|Choose)"
        ):
            train(tiny_arguments(image_folder, tmp_path / "runs" / "1"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("owner", "name"),
    [(TrainingArguments, "save"), (run_folder.RunFolder, "log"), (run_folder.RunFolder, "add_session")],
)
def test_a_full_disk_that_ends_a_run_is_one_line(owner, name, image_folder, tmp_path, train, monkeypatch, capsys):
    """Models and checkpoints wait for room."""
    monkeypatch.setattr(owner, name, disk_that_is_full)
    with pytest.raises(SystemExit) as exit, user_errors_exit_cleanly():
        train(tiny_arguments(image_folder, tmp_path / "run"))
    assert exit.value.code == ExitCode.USAGE
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: cannot write")
    assert "No space left on device. Make room" in line
    assert "--resume_from_checkpoint auto" in line


def test_weights_that_find_the_disk_full_are_one_line_too(capsys):
    with pytest.raises(SystemExit) as exit, user_errors_exit_cleanly():
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert exit.value.code == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("error: cannot write: No space left on device. Make room")


def test_what_is_no_trouble_of_the_disk_keeps_its_traceback():
    for error in (ConnectionResetError(errno.ECONNRESET, "reset"), SafetensorError("InvalidHeader"), OSError("odd")):
        with pytest.raises(type(error)), user_errors_exit_cleanly():
            raise error


def test_too_little_shared_memory_is_found_before_data_are_read(image_folder, tmp_path, train, monkeypatch):
    """2 workers × 3 batches in turns × (8 + 4 images) × 3 × 16² bytes = 55,296."""
    arguments = tiny_arguments(
        image_folder, tmp_path / "run", dataloader_num_workers=2, per_device_eval_batch_size=4, num_train_epochs=1
    )
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=55_295))
    with pytest.raises(UserError, match=r"2 data workers share .* --dataloader_num_workers 1 \(for resnet50"):
        train(arguments)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"--shm-size=1g .* --dataloader_num_workers 0 "):
        loader.check_shared_memory(2, 27_648)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=55_296))
    loader.check_shared_memory(2, loader.shared_bytes(8, 16) + loader.shared_bytes(4, 16))
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    loader.check_shared_memory(0, 27_648)


@pytest.mark.parametrize(
    "said",
    [
        "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to allocate shared memory(shm)",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that its workers are out of shared "
        "memory. Please try to raise your shared memory limit.",
    ],
)
def test_shared_memory_that_runs_out_is_one_line(said):
    def batches():
        raise RuntimeError(said)
        yield

    with pytest.raises(UserError, match=r"shared memory .* is full: start the container with a larger --shm-size"):
        list(loader._loaded(batches(), 1))


@pytest.mark.parametrize(
    ("fields", "num_processes", "fits"),
    [
        ({}, 1, False),
        ({"image_size": 16}, 1, True),
        ({"sync_batch_norm": True}, 1, False),
        ({"sync_batch_norm": True}, 2, True),
        ({"freeze_batch_norm": True}, 1, True),
        ({"freeze_batch_norm": True, "swa_start_epoch": 1}, 1, True),
    ],
)
def test_one_image_of_one_pixel_is_refused_where_batch_norm_would_measure_it(fields, num_processes, fits, tiny_config):
    model, recipe = ResNet50ForImageClassification(tiny_config), TrainingArguments(**{"image_size": 8, **fields})
    check_images_fit(model, recipe, 2, num_processes)
    with nullcontext() if fits else pytest.raises(UserError, match="--freeze_batch_norm true"):
        check_images_fit(model, recipe, 1, num_processes)


def test_a_finished_run_is_not_overwritten_unless_told_to(copied_run, image_folder, train):
    before = (copied_run / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match="already holds a run: continue it with --resume_from_checkpoint auto"):
        train(tiny_arguments(image_folder, copied_run))
    with pytest.raises(UserError):
        train(tiny_arguments("./nowhere", copied_run, overwrite_output_dir=True))
    assert (copied_run / "metrics.jsonl").read_text() == before
    train(tiny_arguments(image_folder, copied_run, overwrite_output_dir=True, num_train_epochs=1))
    assert len((copied_run / "metrics.jsonl").read_text().splitlines()) == 1


def test_error_is_one_line_and_exit_code_2(tmp_path, image_folder):
    bad = image_folder / "train" / "cat" / "1.jpg"
    bad.write_bytes(b"not an image")
    result = run_python(["train.py", *tiny_arguments(image_folder, tmp_path / "run", total_train_batch_size=24)])
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: unreadable image: ")
    assert "train/cat/1.jpg" in result.stderr
    assert "Traceback" not in result.stderr


def test_skipped_images_are_counted_in_metrics_and_model_card_and_shown(tmp_path, image_folder, train, capsys):
    (image_folder / "train" / "cat" / "1.jpg").write_bytes(b"not an image")
    train(tiny_arguments(image_folder, tmp_path, on_bad_image="skip", total_train_batch_size=24, num_train_epochs=2))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["bad_images"] for row in rows] == [1, 1]
    assert "1 unreadable image replaced" in capsys.readouterr().out
    assert "up to 1 unreadable images were replaced by others" in (tmp_path / "final" / "README.md").read_text()


def test_more_processes_than_devices_is_an_error(tmp_path, image_folder):
    if torch.cuda.device_count() > 7:
        pytest.skip("here 8 processes have 8 devices")
    environment = {
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "8",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "ACCELERATE_USE_CPU": "false",
    }
    result = run_python(["train.py", *tiny_arguments(image_folder, tmp_path / "run")], **environment)
    assert result.returncode == 2
    assert "8 processes were started on this machine, which has" in result.stderr


def test_the_seeds_fp16_scaling_is_asked_of_accelerate(monkeypatch):
    """No GPU is needed to see that fp16 reaches Accelerate; that it scales the loss there is Accelerate's business."""
    from modeling_resnet50.training import distributed

    asked = {}
    made = SimpleNamespace(mixed_precision="fp16", is_main_process=True)
    monkeypatch.setattr(distributed, "Accelerator", lambda **arguments: asked.update(arguments) or made)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 8)
    distributed.create_accelerator(TrainingArguments(mixed_precision="fp16", gradient_accumulation_steps=2))
    assert asked["mixed_precision"] == "fp16"
    assert asked["gradient_accumulation_steps"] == 2


def test_accelerate_config_describes_the_machine_only():
    settings = yaml.safe_load((PROJECT / "accelerate_config.yaml").read_text())
    assert (settings["num_processes"], settings["mixed_precision"]) == (8, "fp16")
    assert not set(settings) & set(TrainingArguments.__dataclass_fields__) - {"mixed_precision"}


def test_evaluation_agrees_with_the_model_itself(finished_run):
    model = AutoModelForImageClassification.from_pretrained(finished_run / "best")
    assert model.config.id2label == {0: "ant", 1: "bee", 2: "cat"}
    assert isinstance(Accelerator(cpu=True).unwrap_model(model), ResNet50ForImageClassification)
