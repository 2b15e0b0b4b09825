"""The published recipes: their fields against the source, two steps of each, and ten steps against a plain loop."""

import json
import math
import re

import numpy as np
import pytest
import timm.optim
import torch
from conftest import PROJECT, TINY, tiny_arguments
from safetensors.torch import load_file
from timm.loss import BinaryCrossEntropy
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel
from torchvision.models import ResNet50_Weights
from torchvision.ops._utils import split_normalization_params

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.architecture import model_config
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.training.optimization import learning_rate_schedule
from resnet50_recipe.recipe_file import parse_recipe


RECIPES = sorted(path.stem for path in (PROJECT / "recipes").glob("*.yaml"))


def recipe_of(name, *arguments):
    return parse_recipe(["--config", str(PROJECT / "recipes" / f"{name}.yaml"), *arguments])


# Fields, as the source has them

SGD = {"optim": "sgd", "momentum": 0.9, "nesterov": False}
RSB = {
    "optim": "lamb", "total_train_batch_size": 2048, "loss": "bce", "cutmix_alpha": 1.0, "warmup_epochs": 5.0,
    "eval_crop_ratio": 0.95, "lr_scheduler_type": "cosine", "auto_augment": "randaugment", "random_erasing": 0.0,
    "color_jitter": 0.0, "ema_decay": None, "rand_augment_magnitude_std": 0.5, "random_flip": 0.5,
    "max_grad_norm": None, "exif_orientation": "ignore",
}  # fmt: skip
FAST = {
    **SGD, "total_train_batch_size": 8 * 512, "learning_rate": 1.7, "weight_decay": 1e-4, "image_size_start": 160,
    "image_size": 192, "eval_image_size": 256, "eval_flip": True, "label_smoothing_factor": 0.1,
    "config_overrides": {"blur_pool": True}, "warmup_epochs": 2.0, "weight_decay_on": "all_but_norm",
    "exif_orientation": "ignore",
}  # fmt: skip
SOURCES = {
    # torchvision, references/classification/train.py: defaults
    "torchvision_v1": {
        **SGD, "num_train_epochs": 90, "total_train_batch_size": 8 * 32, "learning_rate": 0.1, "weight_decay": 1e-4,
        "weight_decay_on": "all", "lr_scheduler_type": "step", "lr_step_epochs": [30.0, 60.0], "lr_step_factor": 0.1,
        "warmup_epochs": 0.0, "image_size": 224, "eval_crop_ratio": 224 / 256, "interpolation": "bilinear",
        "exif_orientation": "ignore",
    },
    # PyTorch blog, 2021: the command line of the new recipe
    "torchvision_v2": {
        **SGD, "num_train_epochs": 600, "total_train_batch_size": 8 * 128, "learning_rate": 0.5,
        "weight_decay": 2e-5, "weight_decay_on": "all_but_norm", "lr_scheduler_type": "cosine", "warmup_epochs": 5.0,
        "warmup_start_factor": 0.01, "auto_augment": "trivialaugment", "random_erasing": 0.1, "mixup_alpha": 0.2,
        "cutmix_alpha": 1.0, "label_smoothing_factor": 0.1, "image_size": 176, "eval_image_size": 224,
        "eval_crop_ratio": 224 / 232, "augmentation_repeats": 4, "ema_every_steps": 32,
        "ema_decay": 1 - (1 - 0.99998) * 8 * 128 * 32 / 600, "exif_orientation": "ignore",
    },
    # arXiv 2110.00476, table 2
    "rsb_a1": {
        **RSB, "num_train_epochs": 600, "learning_rate": 5e-3, "weight_decay": 0.01, "label_smoothing_factor": 0.1,
        "config_overrides": {"zero_init_residual": True, "drop_path_rate": 0.05}, "augmentation_repeats": 3,
        "mixup_alpha": 0.2, "rand_augment_magnitude": 7.0, "image_size": 224,
    },
    "rsb_a2": {
        **RSB, "num_train_epochs": 300, "learning_rate": 5e-3, "weight_decay": 0.02, "label_smoothing_factor": 0.0,
        "config_overrides": {"zero_init_residual": True, "drop_path_rate": 0.05}, "augmentation_repeats": 3,
        "mixup_alpha": 0.1, "rand_augment_magnitude": 7.0, "image_size": 224,
    },
    "rsb_a3": {
        **RSB, "num_train_epochs": 100, "learning_rate": 8e-3, "weight_decay": 0.02, "label_smoothing_factor": 0.0,
        "config_overrides": {"zero_init_residual": True, "drop_path_rate": 0.0}, "augmentation_repeats": 1,
        "mixup_alpha": 0.1, "rand_augment_magnitude": 6.0, "image_size": 160, "eval_image_size": 224,
    },
    # ffcv-imagenet, rn50_configs
    "fast_16": {**FAST, "num_train_epochs": 16, "image_size_ramp": [11, 13]},
    "fast_24": {**FAST, "num_train_epochs": 24, "image_size_ramp": [17, 20]},
    "fast_32": {**FAST, "num_train_epochs": 32, "image_size_ramp": [23, 27]},
    "fast_40": {**FAST, "num_train_epochs": 40, "image_size_ramp": [29, 34]},
    "fast_56": {**FAST, "num_train_epochs": 56, "image_size_ramp": [41, 48]},
    "fast_88": {**FAST, "num_train_epochs": 88, "image_size_ramp": [65, 76]},
    # NVIDIA DeepLearningExamples, configs.yml (resnet_params_2k) with the arguments of DGXA100_resnet50_AMP_90E.sh
    "nvidia_90": {
        **SGD, "momentum": 0.875, "num_train_epochs": 90, "total_train_batch_size": 2048, "learning_rate": 2.048,
        "weight_decay": 3.0517578125e-05, "weight_decay_on": "all_but_norm", "label_smoothing_factor": 0.1,
        "warmup_epochs": 8.0, "lr_scheduler_type": "cosine", "mixup_alpha": 0.0, "image_size": 224,
        "exif_orientation": "apply",
    },
    # the seed's table
    "imagenet1k": {
        **SGD, "num_train_epochs": 90, "total_train_batch_size": 256, "learning_rate": 0.1, "weight_decay": 1e-4,
        "weight_decay_on": "all", "warmup_epochs": 5.0, "lr_scheduler_type": "cosine", "mixed_precision": "fp16",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_fields_are_those_of_the_source(name):
    recipe = recipe_of(name)
    for field, value in SOURCES[name].items():
        ours = getattr(recipe, field)
        assert ours == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value), field


# Figures, as the source has them: ffcv-imagenet's README.md, and NVIDIA's for PyTorch (not its MXNet version), by
# DeepLearningExamples/PyTorch/Classification/ConvNets/resnet50v1.5; timm's results-imagenet.csv.
FIGURES = {
    "fast_16": "73.8 % top-1, 90.8 % top-5 … 14.9 minutes",
    "fast_24": "75.6 % top-1, 92.1 % top-5 … 21.7 minutes",
    "fast_32": "76.6 % top-1, 92.7 % top-5 … 28.7 minutes",
    "fast_40": "77.2 % top-1, 93.2 % top-5 … 35.6 minutes",
    "fast_56": "78.0 % top-1, 93.7 % top-5 … 49.4 minutes",
    "fast_88": "78.4 % top-1, 94.1 % top-5 … 77.2 minutes",
    "nvidia_90": "77.12 ± 0.11 % top-1 … about 3 hours … 16,621 images/s … its MXNet version … 77.185 % in 1.14 hours",
    "rsb_a1": "80.4 % top-1 … timm's own table has 80.382 % (81.240 % at 288)",
    "rsb_a2": "79.8 % top-1 … timm's own table has 79.828 % (80.774 % at 288)",
    "rsb_a3": "78.1 % top-1 … timm's own table has 78.052 %",
    "torchvision_v1": "timm measures 76.156 %",
    "torchvision_v2": "timm measures 80.846 %",
}


def header_of(name):
    lines = (PROJECT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(" ".join(line.lstrip("# ") for line in lines if line.startswith("#")).split())


def row_of(name):
    """README's, with the recipes that it names and each column's figures for them."""
    for line in (PROJECT / "README.md").read_text(encoding="utf-8").splitlines():
        names = re.findall(r"recipes/(\w+)\.yaml", line)
        if line.startswith("|") and name in names:
            _, _, accuracy, time, hardware, whose, _ = (cell.strip() for cell in line.split("|"))
            place = names.index(name)
            of = [(cell.split(" · ") + [""] * len(names))[place] for cell in (accuracy, time)]
            return [text.split(" ")[0] if text[:1].isdigit() else text for text in of] + [hardware, whose]
    raise AssertionError(f"README has no row for {name}")


@pytest.mark.parametrize("name", FIGURES)
def test_header_has_the_figures_of_its_source(name):
    header = header_of(name)
    for figure in FIGURES[name].split(" … "):
        assert figure in header
    if name.startswith("torchvision"):
        weights = ResNet50_Weights[f"IMAGENET1K_{name[-2:].upper()}"].meta["_metrics"]["ImageNet-1K"]
        assert f"{weights['acc@1']:.3f} % top-1, {weights['acc@5']:.3f} % top-5" in header


@pytest.mark.parametrize("name", FIGURES)
def test_readmes_table_has_the_figures_of_the_header(name):
    accuracy, time, hardware, whose = row_of(name)
    top1 = float(re.search(r"expected: ([\d.]+) ", header_of(name))[1])
    assert accuracy == f"{top1:.1f}"
    if name.startswith("fast"):
        assert f"{time} minutes" in header_of(name)
        assert hardware in header_of(name)
    if name == "nvidia_90":
        assert (time, hardware, whose) == ("about 3 hours", "8 A100", "NVIDIA's, of PyTorch")
    if name.startswith("rsb"):
        days = re.search(r"([\d.]+) (days|hours)", header_of(name))
        assert float(time) == pytest.approx(float(days[1]) * (24 if days[2] == "days" else 1), abs=1)


@pytest.mark.parametrize("name", RECIPES)
def test_header_says_what_where_from_and_whether_it_was_run(name):
    lines = (PROJECT / "recipes" / f"{name}.yaml").read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    for word in ("command:", "source:", "hardware:", "run here:"):
        assert any(word in line for line in header) or name in ("digits", "imagenet1k", "tiny_imagenet", "cifar10")


def test_learning_rates_written_as_arithmetic_follow_the_batch_size():
    assert recipe_of("torchvision_v1", "--total_train_batch_size", "1024").learning_rate == pytest.approx(0.4)
    assert recipe_of("rsb_a2", "--total_train_batch_size", "512").learning_rate == pytest.approx(2.5e-3)
    assert recipe_of("torchvision_v1", "--learning_rate", "0.2").learning_rate == 0.2


# Learning rates, point by point

STEPS = 5  # per epoch


def reference_rates(name, recipe):
    """What the source's own scheduler gives, one rate per step."""
    epochs, peak = recipe.num_train_epochs, recipe.learning_rate
    if name.startswith("fast"):

        def at(epoch):
            return np.interp(epoch, [0, 2, epochs], [1e-4 * peak, peak, 0])

        return [
            np.interp(step, [0, STEPS], [at(epoch), at(epoch + 1)]) for epoch in range(epochs) for step in range(STEPS)
        ]  # fmt: skip
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    rates = []
    if name.startswith("rsb"):
        scheduler = CosineLRScheduler(
            optimizer, t_initial=epochs, lr_min=1e-6, warmup_t=5, warmup_lr_init=1e-4, warmup_prefix=False
        )
        for epoch in range(epochs):
            scheduler.step(epoch)
            rates += [optimizer.param_groups[0]["lr"]] * STEPS
        return rates
    if name == "nvidia_90":
        for epoch in range(epochs):
            cosine = 0.5 * (1 + math.cos(math.pi * (epoch - 8) / (epochs - 8)))
            rates += [peak * (epoch + 1) / 8 if epoch < 8 else peak * cosine] * STEPS
        return rates
    if name == "torchvision_v1":
        scheduler = lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    else:
        warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=5)
        cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs - 5)
        scheduler = lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[5])
    for _ in range(epochs):
        rates += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", [name for name in SOURCES if name != "imagenet1k"])
def test_learning_rate_is_the_reference_schedulers_at_every_step(name):
    recipe = recipe_of(name)
    lr_at = learning_rate_schedule(recipe, STEPS)
    ours = [lr_at(step) for step in range(recipe.num_train_epochs * STEPS)]
    assert ours == pytest.approx(reference_rates(name, recipe), rel=1e-6, abs=1e-9)


# The whole of a recipe, small


def small(name, image_folder, output_dir, tmp_path, **settings):
    """A recipe's command line with all that decides the arithmetic, and sizes for seconds."""
    recipe = recipe_of(name)
    settings = {
        "config_overrides": json.dumps({**TINY, **(recipe.config_overrides or {}), **settings.pop("overrides", {})}),
        "mixed_precision": "no", "image_size": 32, "eval_image_size": 32,
        "warmup_epochs": min(1, recipe.warmup_epochs), "lr_step_epochs": [1, 2],
        "ema_every_steps": 2, "ema_start_epoch": min(1, recipe.ema_start_epoch),
        "num_train_epochs": 3, **settings,
    }  # fmt: skip
    if recipe.image_size_start is not None:
        settings |= {
            "image_size_start": 32,
            "image_size": 64,
            "image_size_ramp": [0, settings["num_train_epochs"] // 2],
        }
    if recipe.model_name_or_path is not None:
        model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=2))
        processor = image_processor(
            Preprocessing.by_ratio(224, 0.875, "bilinear", recipe.image_mean, recipe.image_std)
        )
        (tmp_path / "start").mkdir()
        save_model_and_processor(tmp_path / "start", model, processor)
        settings |= {"model_name_or_path": tmp_path / "start", "config_overrides": "{}"}
    arguments = tiny_arguments(image_folder, output_dir, **settings)
    return ["--config", str(PROJECT / "recipes" / f"{name}.yaml"), *arguments[4:]]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name, image_folder, tmp_path, train):
    arguments = small(name, image_folder, tmp_path / "run", tmp_path, num_train_epochs=1, ema_start_epoch=0)
    train(arguments)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3]
    assert math.isfinite(rows[0]["train_loss"])
    assert all(
        value.isfinite().all() for value in load_file(tmp_path / "run" / "final" / "model.safetensors").values()
    )
    if recipe_of(name).ema_decay is not None:
        assert "average_val_top1" in rows[0]
        assert (tmp_path / "run" / "final_average" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["torchvision_v1", "torchvision_v2", "rsb_a2", "rsb_a3", "fast_16"])
def test_eighteen_steps_equal_a_plain_loop_with_the_references_own_parts(name, image_folder, tmp_path, train):
    # Without stochastic depth, whose random numbers are the model's.
    arguments = small(
        name, image_folder, tmp_path / "run", tmp_path, total_train_batch_size=4, overrides={"drop_path_rate": 0.0}
    )
    train(arguments)

    recipe = parse_recipe(arguments)
    torch.manual_seed(recipe.seed)
    model = ResNet50ForImageClassification(model_config(recipe, ["ant", "bee", "cat"]))
    model.to(memory_format=torch.channels_last).train()
    steps, peak = 6, recipe.learning_rate
    average, criterion, schedule = None, nn.CrossEntropyLoss(), None
    smoothing = recipe.label_smoothing_factor
    if name.startswith("torchvision"):
        criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        groups = model.parameters()
        if name == "torchvision_v2":
            norms, others = split_normalization_params(model)
            groups = [{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": recipe.weight_decay}]
        optimizer = torch.optim.SGD(groups, lr=peak, momentum=0.9, weight_decay=recipe.weight_decay)
        schedule = lr_scheduler.StepLR(optimizer, 1, 0.1)
        if name == "torchvision_v2":
            decay = recipe.ema_decay
            average = AveragedModel(model, avg_fn=lambda a, b, n: decay * a + (1 - decay) * b, use_buffers=True)
            warmup = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=1)
            cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
            schedule = lr_scheduler.SequentialLR(optimizer, [warmup, cosine], milestones=[1])
    elif name.startswith("rsb"):
        criterion = BinaryCrossEntropy(smoothing, target_threshold=0.2)
        optimizer = timm.optim.Lamb(param_groups_weight_decay(model, recipe.weight_decay), lr=peak)
        schedule = CosineLRScheduler(
            optimizer, t_initial=3, lr_min=1e-6, warmup_t=1, warmup_lr_init=recipe.warmup_start_factor * peak,
            warmup_prefix=False,
        )  # fmt: skip
    else:
        criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        norms, others = split_normalization_params(model)
        groups = [{"params": norms, "weight_decay": 0.0}, {"params": others, "weight_decay": 1e-4}]
        optimizer = torch.optim.SGD(groups, lr=peak, momentum=0.9)

    # The same batches; where torchvision's loss smooths, with targets that are not smoothed yet.
    raw = parse_recipe([*arguments, "--label_smoothing_factor", "0"]) if name == "torchvision_v2" else recipe
    data = load_training_data(raw, torch.device("cpu"), 0, 0, 1)
    step = 0
    for epoch in (1, 2, 3):
        data.train_loader.sampler.start(epoch)
        if name.startswith("rsb"):
            schedule.step(epoch - 1)
        for batch in data.train_loader:
            if name == "fast_16":
                rate = np.interp(step / steps, [0, 1, 3], [1e-4 * peak, peak, 0])
                for group in optimizer.param_groups:
                    group["lr"] = rate
            assert batch["pixel_values"].shape[-1] == ({1: 32, 2: 64, 3: 64}[epoch] if name == "fast_16" else 32)
            optimizer.zero_grad()
            criterion(model(batch["pixel_values"]).logits, batch["targets"]).backward()
            optimizer.step()
            step += 1
            if average is not None and step % 2 == 0:
                average.update_parameters(model)
                if epoch <= 1:
                    average.n_averaged.fill_(0)
        if name.startswith("torchvision"):
            schedule.step()
    assert step == 18
    compare(load_file(tmp_path / "run" / "final" / "model.safetensors"), model.state_dict())
    if average is not None:
        ours = load_file(tmp_path / "run" / "final_average" / "model.safetensors")
        theirs = average.module.state_dict()
        compare(ours, theirs)


def compare(ours, theirs):
    for name, value in ours.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
