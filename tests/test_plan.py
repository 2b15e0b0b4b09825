"""What `resnet50 plan` works out is what training then does."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from PIL import Image
from shared import PROJECT, TINY, save_teacher, tiny_arguments, write_shards

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.plan_budget import offers
from modeling_resnet50.plan import (
    IMAGES_PER_SECOND,
    KNOWN_DATA,
    SCALING,
    DataSize,
    complaints,
    forward_flops,
    make_plan,
)
from modeling_resnet50.training.memory import activation_bytes
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.training_arguments import TrainingArguments


IMAGENET = KNOWN_DATA["ILSVRC/imagenet-1k"]


def on_paper(**fields) -> ResNet50ForImageClassification:
    with torch.device("meta"):
        return ResNet50ForImageClassification(ResNet50Config(**fields))


def test_parameters_and_operations_are_those_that_torchvision_states():
    metadata = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta
    plan = make_plan(TrainingArguments(), IMAGENET)
    assert plan.parameters == metadata["num_params"]
    # torchvision counts a multiplication and an addition as one.
    assert plan.forward_flops == pytest.approx(2e9 * metadata["_ops"], rel=1e-3)
    assert forward_flops(on_paper(num_labels=1000), 448) == pytest.approx(4 * plan.forward_flops, rel=1e-3)


@pytest.mark.parametrize("fields", [TINY, {**TINY, "stem_type": "deep", "blur_pool": True}])
def test_activations_are_what_a_real_forward_pass_saves(fields):
    model = ResNet50ForImageClassification(ResNet50Config(**fields)).train()
    saved = {}
    weights = {t.data_ptr() for t in (*model.parameters(), *model.buffers())}

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(torch.rand(2, 3, 64, 64)).logits.sum()
    kept = [tensor for pointer, tensor in saved.items() if pointer not in weights]
    expected = sum(tensor.numel() * tensor.element_size() for tensor in kept) / 2
    assert activation_bytes(on_paper(**fields), 64, "no") == pytest.approx(expected, rel=0.01)
    assert activation_bytes(on_paper(**fields), 64, "fp16") < 0.6 * expected


@pytest.mark.parametrize(
    ("optimizer", "states"),
    [({"optim": "sgd"}, 1), ({"optim": "sgd", "momentum": 0.0}, 0), ({"optim": "lamb"}, 2), ({"optim": "adamw"}, 2)],
)
def test_optimizer_states_count_in_checkpoints_and_memory(optimizer, states):
    plan = make_plan(TrainingArguments(**optimizer), IMAGENET)
    numbers = 25_557_032 + 53_120 + 53  # weights; running means and variances; counters
    assert plan.model_size == 4 * numbers
    assert plan.checkpoint_size == 4 * (numbers + 25_557_032 * states)
    assert plan.model_memory == 4 * (numbers + 25_557_032 * (1 + states))
    averaged = make_plan(TrainingArguments(**optimizer, ema_decay=0.999), IMAGENET)
    assert averaged.checkpoint_size - plan.checkpoint_size == averaged.model_memory - plan.model_memory == 4 * numbers


def test_time_is_that_of_the_images_at_the_measured_rate():
    plan = make_plan(TrainingArguments(), IMAGENET)
    # Evaluating takes a third of training: no backward pass.
    images = 90 * (5004 * 256 + 50_000 / 3)
    assert plan.hours(2470) == pytest.approx(images / 2470 / 3600, rel=1e-9)
    assert make_plan(TrainingArguments(), IMAGENET, 8).hours(2470) == pytest.approx(plan.hours(2470) / 8 / SCALING)
    smaller = make_plan(
        TrainingArguments(image_size_start=112, image_size_ramp=[45, 45], eval_image_size=224), IMAGENET
    )
    # Epochs 1 to 46 are at 112 pixels, a quarter of the pixels.
    assert smaller.reference_images == pytest.approx(5004 * 256 * (46 / 4 + 44) + 90 * 50_000 / 3, rel=0.02)


def test_the_plan_is_what_training_does(image_folder, tmp_path, train):
    fields = {"num_train_epochs": 3, "image_size": 64, "image_size_start": 32, "image_size_ramp": [1, 2],
              "lr_scheduler_type": "polynomial", "checkpoint_every_epochs": 2}  # fmt: skip
    arguments = tiny_arguments(image_folder, tmp_path / "run", **fields)
    recipe = parse_recipe(arguments)
    plan = make_plan(recipe, DataSize(24, 15, 3))
    train(arguments)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == plan.total_steps == 9
    assert [row["learning_rate"] for row in rows] == [plan.lr_at(row["step"] - 1) for row in rows]
    assert plan.image_sizes == [32, 32, 64]
    weights = tmp_path / "run" / "final" / "model.safetensors"
    assert plan.model_size < weights.stat().st_size < plan.model_size + 20_000  # names and shapes
    checkpoint = [p.stat().st_size for p in (tmp_path / "run" / "checkpoints" / "epoch-0003").iterdir()]
    assert plan.checkpoint_size < sum(checkpoint) < plan.checkpoint_size + 100_000
    assert plan.disk == 2 * plan.model_size + 2 * plan.checkpoint_size


def test_a_teachers_forward_pass_counts_and_nothing_is_fetched():
    alone = make_plan(TrainingArguments(), IMAGENET)
    name = "timm/beitv2_base_patch16_224.in1k_ft_in22k_in1k"
    taught = make_plan(TrainingArguments(teacher=name), IMAGENET)
    # timm's own table: 17.56 GMACs, 86.53 million parameters.
    assert taught.teacher_flops == pytest.approx(2 * 17.56e9, rel=2e-3)
    assert taught.model_memory - alone.model_memory == pytest.approx(4 * 86.53e6, rel=1e-3)
    images = 90 * 5004 * 256
    assert taught.total_flops - alone.total_flops == pytest.approx(images * taught.teacher_flops)
    extra = taught.reference_images - alone.reference_images
    assert extra == pytest.approx(images * taught.teacher_flops / (3 * alone.forward_flops), rel=1e-6)
    # It sees its own size, whatever the student's is; two of them cost twice.
    smaller = make_plan(
        TrainingArguments(teacher=[name, f"timm:{name[5:]}"], image_size=160, teacher_image_size=224), IMAGENET
    )
    assert smaller.teacher_flops == 2 * taught.teacher_flops
    with pytest.raises(UserError, match="does not take images of 160 pixels: --teacher_image_size"):
        make_plan(TrainingArguments(teacher=name, image_size=160), IMAGENET)
    with pytest.raises(UserError, match="the teacher timm/resnet_50: "):
        make_plan(TrainingArguments(teacher="timm/resnet_50"), IMAGENET)
    unknown = make_plan(TrainingArguments(teacher="user/name"), IMAGENET)
    assert (unknown.teacher_flops, unknown.reference_images) == (0, alone.reference_images)
    assert any("what the teacher user/name costs is not known here" in text for text in complaints(unknown))


def test_a_teacher_on_this_disk_is_planned_by_its_configuration(tmp_path):
    folder = save_teacher(tmp_path / "ours")
    (folder / "model.safetensors").unlink()  # weights are not read
    ours = make_plan(TrainingArguments(teacher=str(folder), image_size=32), IMAGENET)
    assert ours.teacher_flops == forward_flops(on_paper(**TINY, num_labels=3), 32)
    timms = tmp_path / "timms"
    timm.models.save_for_hf(timm.create_model("resnet10t", num_classes=3), timms)
    plan = make_plan(TrainingArguments(teacher=str(timms)), IMAGENET)
    assert plan.teacher_flops == pytest.approx(2 * 1.1e9, rel=0.05)  # timm's table: 1.1 GMACs
    (timms / "config.json").write_text("{}")
    with pytest.raises(UserError, match="describes no classifier"):
        make_plan(TrainingArguments(teacher=str(timms)), IMAGENET)


def test_the_budget_names_the_best_recipe_that_fits(tmp_path, monkeypatch, capsys):
    (tmp_path / "recipes").mkdir()
    for name, epochs, expected in (
        ("long", 90, "80.5 % top-1 (of somebody)"),
        ("short", 9, "about 71 % top-1"),
        ("tiny", 1, "70.2 ± 0.1 % top-1"),
        ("unknown", 2, "not known: 99 % top-1 is another network's"),
    ):
        header = f"# A {name} one.\n#\n# expected:  {expected}\n# run here:  no\n"
        text = f"{header}num_train_epochs: {epochs}\nwarmup_epochs: 0\n"
        (tmp_path / "recipes" / f"{name}.yaml").write_text(text)
    (tmp_path / "recipes" / "digits.yaml").write_text("# Others.\n#\n# expected:  99 % top-1\ndataset_name: digits\n")
    monkeypatch.chdir(tmp_path)
    hours = {offer.name: offer.gpu_hours(IMAGES_PER_SECOND["H100"]) for offer in offers(Path("recipes"))}
    assert list(hours) == ["long", "short", "tiny", "unknown"]
    plan = make_plan(TrainingArguments(num_train_epochs=9, warmup_epochs=0.0), IMAGENET, 8)
    assert hours["short"] == pytest.approx(8 * plan.hours(IMAGES_PER_SECOND["H100"]))
    for budget, best in ((1000, "long"), (hours["long"] - 0.1, "short"), (hours["short"] * 0.99, "tiny")):
        main(["plan", "--budget", str(budget), "--gpu", "h100", "--json"])
        answer = json.loads(capsys.readouterr().out)
        assert (answer["best"], answer["device"]) == (best, "H100")
        assert [row["top1"] for row in answer["recipes"]] == [80.5, 71.0, 70.2, None]
    main(["plan", "--budget", str(hours["short"] + 0.1), "--gpu", "H100"])
    output = capsys.readouterr().out
    assert "recipes/short.yaml gives most: 71.0 % top-1" in output
    assert "not measured here" in output
    assert re.search(r"80\.5 % .+ · long +A long one", output)
    assert re.search(r"71\.0 % .+ → short +A short one", output)
    main(["plan", "--budget", "0.001"])
    assert "Nothing fits into 0.001 GPU-hours: tiny takes " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "num_processes", "complaint"),
    [
        ({"learning_rate": 1.6}, 1, "learning_rate 1.6 is 16 times what the linear rule gives for 256 images: 0.1"),
        ({"learning_rate": 0.01}, 1, "learning_rate 0.01 is 0.1 times what the linear rule"),
        ({"optim": "adamw", "learning_rate": 0.1}, 1, "learning_rate 0.1 is large for adamw"),
        ({"learning_rate": 3.2, "total_train_batch_size": 8192, "warmup_epochs": 0.0}, 64, "3.2 without warm-up"),
        ({"warmup_epochs": 40.0}, 1, "warm-up takes 40 of 90 epochs"),
        ({"min_learning_rate": 0.2}, 1, "min_learning_rate is above learning_rate"),
        ({"lr_scheduler_type": "step", "lr_step_epochs": [30.0, 95.0]}, 1, "would fall after epoch 95"),
        ({}, 3, "total_train_batch_size 256 does not divide over 3"),
        ({}, 32, "BatchNorm sees 8 images at a time"),
        ({"image_size": 225}, 1, "image_size 225 is not a multiple"),
        ({"eval_image_size": 160}, 1, "smaller in validation (160) than in training (224)"),
        ({"eval_crop_ratio": 0.4}, 1, "leaves only the middle"),
        ({"ema_decay": 0.999999}, 1, "ema_decay 0.999999 averages over 1,000,000 steps, of 450,360"),
        (
            {"ema_decay": 0.9, "ema_every_steps": 500_000},
            1,
            "the average would begin at step 500,000, but there are 450,360",
        ),
        (
            {"image_size": 32, "gradient_accumulation_steps": 8},
            32,
            "BatchNorm cannot train on 1 image(s) of 32 pixels",
        ),
        ({"ema_decay": 0.9, "ema_start_epoch": 90}, 1, "the average would begin at step 450,361"),
        ({"mixup_alpha": 0.2, "num_train_epochs": 10}, 1, "mixup and CutMix pay off in long training"),
        ({"total_train_batch_size": 4096, "learning_rate": 1.6}, 1, "GB do not fit on one A100 or H100 or H200"),
        ({"mixed_precision": "no"}, 1, "mixed_precision no: fp16 or bf16"),
    ],
)
def test_what_looks_wrong_is_said(fields, num_processes, complaint):
    found = complaints(make_plan(TrainingArguments(**fields), IMAGENET, num_processes))
    assert any(complaint in text for text in found), found


def test_images_that_fill_no_batch_are_complained_about():
    (complaint,) = complaints(make_plan(TrainingArguments(), DataSize(500, 50, 10)))
    assert complaint.startswith("244 of 500 images are left out of each epoch")


@pytest.mark.parametrize("path", sorted((PROJECT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_here_give_no_complaint(path):
    recipe = parse_recipe(["--config", str(path)])
    data = KNOWN_DATA.get(recipe.dataset_name, DataSize(5000, 500, 37))
    num_processes = 8 if data == IMAGENET else 1
    assert complaints(make_plan(recipe, data, num_processes)) == []


def test_the_command_shows_it_on_a_screen_and_in_a_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = str(PROJECT / "recipes" / "fast_16.yaml")
    main(["plan", recipe, "--num_processes", "4", "--learning_rate", "1.6"])
    output = capsys.readouterr().out
    assert re.search(r"batch +4,096 = 4 devices × 1 accumulation step × 1024", output)
    assert re.search(r"learning rate +0\.\d+ → 1\.6 \(epoch 2\.0\)", output)
    assert re.search(r"images +160 → 192 pixels in training, 256 in validation", output)
    assert f"A100 {IMAGES_PER_SECOND['A100']:,.0f}" in output
    assert "by memory bandwidth" in output
    assert "Nothing looks wrong" in output
    with Image.open(tmp_path / "reports" / "plan-fast_16.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (960, 840)
    main(["plan", recipe, "--images_per_second", "1000", "--picture", "here.png"])
    output = capsys.readouterr().out
    assert re.search(r"time +[\d.]+ (hours|minutes) on 8 × given", output)
    assert output.endswith("\n\ncurves: here.png\n")
    assert Path("here.png").is_file()


def test_for_scripts_it_is_drawn_only_where_they_ask_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = ["plan", str(PROJECT / "recipes" / "fast_16.yaml"), "--json"]
    main(plan)
    assert json.loads(capsys.readouterr().out)["picture"] is None
    assert list(tmp_path.iterdir()) == []
    main([*plan, "--picture", "here.png"])
    assert json.loads(capsys.readouterr().out)["picture"] == "here.png"
    assert Path("here.png").is_file()


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_images_on_this_disk_are_counted_as_training_sees_them(image_folder, tmp_path, monkeypatch, capsys, streaming):
    monkeypatch.chdir(tmp_path)
    source = write_shards(image_folder, tmp_path / "shards") if streaming == "true" else image_folder
    plan = ["plan", str(PROJECT / "recipes" / "finetune.yaml"), "--total_train_batch_size", "4", "--dataset_name"]
    main([*plan, str(source), "--streaming", streaming, "--json"])
    assert json.loads(capsys.readouterr().out)["data"] == {"train_images": 24, "validation_images": 15, "labels": 3}
    if streaming == "false":
        main([*plan, str(source / "train"), "--train_val_split", "0.25", "--json"])
        assert json.loads(capsys.readouterr().out)["data"] == {"train_images": 18, "validation_images": 6, "labels": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["finetune.yaml"],
            "data/my-images is not here to be counted: --dataset_name FOLDER, or --num_train",
        ),
        (["digits.yaml", "--num_train_images", "20"], "20 training images are fewer than one batch of 32: --total_t"),
        (["digits.yaml", "--learning_rat", "1"], "unknown argument '--learning_rat'; did you mean '--learning_rate'?"),
        (["digits.yaml", "--num_processes", "0"], "--num_processes must be at least 1"),
        (["nothing.yaml"], "cannot read the recipe"),
        (["digits.yaml", "--optim", "sdg"], "optim sdg: no such optimizer"),
        (["digits.yaml", "--budget", "10"], "--budget is about all recipes as they are"),
        (["digits.yaml", "--budget", "0"], "--budget must be positive"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(["plan", str(PROJECT / "recipes" / arguments[0]), *arguments[1:]])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_batch_that_fits_few_images_is_planned_with_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    recipe = str(PROJECT / "recipes" / "finetune.yaml")
    main(["plan", recipe, "--num_train_images", "45", "--num_labels", "3"])
    captured = capsys.readouterr()
    assert "--total_train_batch_size 8 for 45 images" in captured.err
    assert "8 = 1 device × 1 accumulation step × 8" in captured.out
    assert "→ 0.00125 (epoch" in captured.out


def test_the_batch_that_plan_has_chosen_itself_is_not_complained_about(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    plan = ["plan", str(PROJECT / "recipes" / "finetune.yaml"), "--num_train_images", "30", "--num_labels", "3"]
    main(plan)
    output = capsys.readouterr().out
    assert "6 images of each epoch left out" in output
    assert "leaves out fewer" not in output
    assert (
        "8 images at a time, which is few: use a larger total_train_batch_size, or freeze_batch_norm: true" in output
    )
    assert re.search(r"compute +[\d.]+ TFLOPs", output)
    assert "less than a second on 1 × A100" in output
    main([*plan, "--total_train_batch_size", "16", "--fit_batch_to_data", "false"])
    assert "14 of 30 images are left out of each epoch" in capsys.readouterr().out


def test_a_folder_that_is_here_is_counted_whatever_its_name(image_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-imagenet").symlink_to(image_folder)
    recipe = str(PROJECT / "recipes" / "tiny_imagenet.yaml")
    main(["plan", recipe, "--dataset_name", "tiny-imagenet", "--total_train_batch_size", "8", "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert plan["data"] == {"train_images": 24, "validation_images": 15, "labels": 3}
    assert plan["num_processes"] == 1  # eight are for ImageNet


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which recipe? resnet50 plan recipes/NAME.yaml"),
        (["--budget", "9"], "no recipes for ImageNet-1K in recipes"),
    ],
)
def test_without_a_recipe_it_says_what_to_give(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["plan", *arguments])
    assert message in capsys.readouterr().err


def test_other_commands_refuse_arguments_they_do_not_know(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "model", "--dataset", "digits", "--num_labels", "3"])
    assert "unknown argument '--num_labels'" in capsys.readouterr().err
