"""The published recipes: their fields against the source, steps of each, and most against a plain loop."""

import importlib.util
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import timm.optim
import torch
from safetensors.torch import load_file
from shared import PROJECT, TINY, save_teacher, tiny_arguments
from timm.data.auto_augment import rand_augment_transform
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
from modeling_resnet50.commands.plan_budget import offers
from modeling_resnet50.data.augmentation import RandAugment
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.pretrained import load_teacher
from modeling_resnet50.plan import IMAGES_PER_SECOND
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
    # Hao840/vanillaKD, readme.md: the command for strategy A1; train-kd.py: its defaults
    "distill_vanilla": {
        **RSB, "num_train_epochs": 600, "total_train_batch_size": 8 * 256, "learning_rate": 5e-3, "weight_decay": 0.01,
        "weight_decay_on": "all_but_norm_and_bias", "label_smoothing_factor": 0.1, "mixup_alpha": 0.2,
        "config_overrides": {"zero_init_residual": True, "drop_path_rate": 0.05}, "augmentation_repeats": 3,
        "rand_augment_magnitude": 7.0, "rand_augment_increasing": False, "train_interpolation": "random",
        "interpolation": "bicubic", "image_size": 224, "mixup_group_size": 256, "warmup_start_factor": 1e-6 / 5e-3,
        "min_learning_rate": 1e-6, "bce_target_threshold": None, "distillation_loss": "kl", "task_loss_weight": 1.0,
        "distillation_alpha": 1.0, "distillation_temperature": 1.0, "teacher_image_size": None, "cooldown_epochs": 0.0,
        "teacher": "timm/beitv2_base_patch16_224.in1k_ft_in22k_in1k",
    },
    # google-research/big_vision, configs/proj/distill/bit_i1k.py: decay there is not times the rate of 0.03
    "distill_patient": {
        "num_train_epochs": 1200, "total_train_batch_size": 4096, "optim": "adamw", "learning_rate": 0.03,
        "weight_decay": 0.0003 / 0.03, "weight_decay_on": "all_but_norm_and_bias", "max_grad_norm": 1.0,
        "warmup_epochs": 5000 * 4096 / 1_281_167, "lr_scheduler_type": "cosine", "min_learning_rate": 0.0,
        "random_crop_scale": [0.05, 1.0], "mixup_alpha": 1.0, "cutmix_alpha": 0.0, "mixup_prob": 1.0,
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "eval_crop_ratio": 224 / 256, "auto_augment": "none",
        "distillation_loss": "kl", "distillation_alpha": 1.0, "task_loss_weight": None, "label_smoothing_factor": 0.0,
        "distillation_temperature": 1.0, "teacher": "timm/resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k",
    },
    # Deci-AI/super-gradients, imagenet_resnet50_kd.yaml, its two files of parameters, and their defaults
    "distill_supergradients": {
        "num_train_epochs": 610, "cooldown_epochs": 10.0, "total_train_batch_size": 8 * 192, "optim": "lamb",
        "learning_rate": 5e-3, "weight_decay": 0.02, "weight_decay_on": "all_but_norm_and_bias",
        "warmup_epochs": 5.0, "warmup_start_factor": 1 / 6, "min_learning_rate": 5e-5, "lr_scheduler_type": "cosine",
        "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "label_smoothing_factor": 0.1, "mixup_group_size": 192,
        "augmentation_repeats": 3, "auto_augment": "randaugment", "rand_augment_magnitude": 7.0,
        "rand_augment_magnitude_std": 0.5, "rand_augment_increasing": False, "train_interpolation": "random",
        "interpolation": "bilinear", "eval_crop_ratio": 224 / 256, "color_jitter": 0.0, "random_erasing": 0.0,
        "ema_decay": 0.9999, "loss": "cross_entropy", "distillation_loss": "kl", "distillation_alpha": 0.8,
        "task_loss_weight": None, "distillation_temperature": 1.0, "exif_orientation": "ignore",
        "teacher": "timm/beit_base_patch16_224.in22k_ft_in22k_in1k",
    },
    # Alibaba-MIIL/Solving_ImageNet, train.py: its defaults; timm 0.5.4 adds the epochs to cool down to the 300
    "usi": {
        "num_train_epochs": 310, "cooldown_epochs": 10.0, "total_train_batch_size": 8 * 128, "optim": "adamw",
        "learning_rate": 2e-3, "weight_decay": 0.02, "weight_decay_on": "all_but_norm_and_bias",
        "warmup_epochs": 5.0, "warmup_start_factor": 1e-4 / 2e-3, "min_learning_rate": 1e-6,
        "lr_scheduler_type": "cosine", "lr_scheduler_interval": "epoch", "mixup_alpha": 0.8, "cutmix_alpha": 1.0,
        "mixup_switch_prob": 0.5, "mixup_group_size": 128, "label_smoothing_factor": 0.0, "augmentation_repeats": 3,
        "auto_augment": "randaugment", "rand_augment_magnitude": 7.0, "rand_augment_magnitude_std": 0.5,
        "rand_augment_increasing": True, "train_interpolation": None, "interpolation": "bicubic",
        "eval_crop_ratio": 0.95, "color_jitter": 0.0, "random_erasing": 0.0, "ema_decay": 0.99996,
        "config_overrides": {"zero_init_residual": True}, "loss": "cross_entropy", "distillation_loss": "kl",
        "task_loss_weight": 1.0, "distillation_alpha": 5.0, "distillation_temperature": 1.0,
        "teacher": "timm/tresnet_v2_l.miil_in21k_ft_in1k", "exif_orientation": "ignore",
    },
    # mlcommons/training_results_v3.0, NVIDIA's config_DGXH100.sh and run_and_time.sh
    "mlperf_lars": {
        "num_train_epochs": 37, "total_train_batch_size": 8 * 400, "optim": "lars", "learning_rate": 11.0,
        "momentum": 0.9, "weight_decay": 5e-5, "optim_args": {"trust_coeff": 0.001, "eps": 0.0},
        "warmup_epochs": 2.0, "warmup_start_factor": None, "lr_scheduler_type": "polynomial", "lr_power": 2.0,
        "min_learning_rate": 1e-4, "label_smoothing_factor": 0.1, "random_crop_scale": [0.05, 1.0],
        "eval_crop_ratio": 224 / 256,
    },
    # mlcommons/submissions_algorithms, generalized_adam/tuning_search_space.json, the first; 186,666 steps
    "algoperf_nesterov": {
        "num_train_epochs": 149, "total_train_batch_size": 1024, "optim": "sgdw", "learning_rate": 1.9487942250159782,
        "momentum": 0.9721703824185486, "weight_decay": 0.00024022723093685417, "weight_decay_on": "all",
        "warmup_epochs": 14.9, "lr_scheduler_type": "cosine", "label_smoothing_factor": 0.2,
        "config_overrides": {"zero_init_residual": True}, "random_crop_scale": [0.08, 1.0],
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
    "distill_vanilla": "83.08 % top-1, 96.35 % top-5 … does not say that one gave the other … 86.494 % and 85.596 %",
    "distill_supergradients": "9 minutes an epoch … 81.91 % top-1 at 224 pixels … 93.0 % top-5 … 8 RTX A5000",
    "distill_patient": "not known for this network … 82.8 % top-1 (timm measures 82.820 %) … in about 15 hours",
    "usi": "81.0 % top-1 at 224 pixels (reported in MODEL_ZOO.md)",
    "mlperf_lars": "13.42 to 13.62 minutes … 75.942, 75.956, 75.996 and 76.308 % … stopped at 75.894 %",
    "algoperf_nesterov": "77.548, 77.568, 77.580, 77.622 and 77.720 % … 16.7 to 17.2 hours until 77.431 %",
}


def header_of(name):
    lines = (PROJECT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(" ".join(line.lstrip("# ") for line in lines if line.startswith("#")).split())


def table():
    """README's rows for ImageNet: of each recipe top-1, top-1 at 288 pixels, GPU-hours, and what its source took."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8").split("| recipe for ImageNet-1K |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| \[`(\w+)`\]\(recipes/\1\.yaml\) \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


@pytest.mark.parametrize("name", FIGURES)
def test_header_has_the_figures_of_its_source(name):
    header = header_of(name)
    for figure in FIGURES[name].split(" … "):
        assert figure in header
    if name.startswith("torchvision"):
        weights = ResNet50_Weights[f"IMAGENET1K_{name[-2:].upper()}"].meta["_metrics"]["ImageNet-1K"]
        assert f"{weights['acc@1']:.3f} % top-1, {weights['acc@5']:.3f} % top-5" in header


@pytest.fixture(scope="module")
def all_offers():
    return offers(PROJECT / "recipes")


def test_readmes_table_is_sorted_and_has_the_figures_of_the_headers_and_of_plan(all_offers):
    rows = table()
    assert list(rows) == [offer.name for offer in all_offers]
    for offer in all_offers:
        top1, at_288, gpu_hours, _ = rows[offer.name]
        header = offer.header
        assert top1.removeprefix("about ") == (f"{header.top1:.1f} %" if header.top1 else "not known"), offer.name
        assert at_288 == (f"{header.top1_at_288:.1f} %" if header.top1_at_288 else ""), offer.name
        assert gpu_hours == f"{offer.gpu_hours(IMAGES_PER_SECOND['A100']):,.0f}", offer.name


def test_the_figures_front_are_the_recipes_that_no_cheaper_one_reaches(all_offers, tmp_path):
    spec = importlib.util.spec_from_file_location("draw_recipes", PROJECT / "docs" / "draw_recipes.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    known = {
        offer.name: (offer.gpu_hours(script.RATE), offer.header.top1) for offer in all_offers if offer.header.top1
    }
    expected = [
        name
        for name, (hours, top1) in known.items()
        if not any(h < hours and t >= top1 for other, (h, t) in known.items() if other != name)
    ]
    front = script.front([offer for offer in all_offers if offer.header.top1])
    assert {offer.name for offer in front} == set(expected)
    script.draw([offer for offer in all_offers if offer.header.top1], tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", FIGURES)
def test_readmes_table_has_what_the_source_took(name):
    took = table()[name][3]
    for part in took.split(", "):
        if part[0].isdigit():
            hours = re.fullmatch(r"([\d.]+) hours", part)
            in_days = hours and f"{round(float(hours[1]) / 24, 1):g} days" in header_of(name)
            assert part in header_of(name) or in_days, part


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
    steps = np.arange(epochs * STEPS)
    match name:
        case "mlperf_lars":  # common/fit.py, PolySchedule, whose steps count from 1: after warm-up, one further
            progress = (steps - 2 * STEPS) / (35 * STEPS)
            warmup = 11 * (steps + 1) / (2 * STEPS)
            return np.where(steps < 2 * STEPS, warmup, 1e-4 + (11 - 1e-4) * (1 - progress) ** 2)
        case "algoperf_nesterov":  # jax_cosine_warmup
            warmup = 0.1 * len(steps)
            cosine = 0.5 * (1 + np.cos(np.pi * (steps - warmup) / (len(steps) - warmup)))
            return peak * np.where(steps < warmup, steps / warmup, cosine)
        case "distill_patient":  # utils.py, create_learning_rate_schedule
            warmup = 5000 * 4096 / 1_281_167 * STEPS
            cosine = 0.5 * (1 + np.cos(np.pi * (steps - warmup) / (len(steps) - warmup)))
            return peak * np.minimum(1, steps / warmup) * np.where(steps < warmup, 1, cosine)
        case "distill_supergradients":  # callbacks.py; warm-up rises once an epoch there, so only that is left out
            course = 0.5 * (1 + np.cos(np.pi * np.maximum(0, steps - 5 * STEPS) / (595 * STEPS + 1)))
            rates = np.where(steps < 600 * STEPS, course * 0.99 + 0.01, 0.01)
            return peak * np.where(steps < 5 * STEPS, 1 / 6 + steps / STEPS / 6, rates)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    rates = []
    if name.startswith("rsb") or name in ("distill_vanilla", "usi"):
        first = {"distill_vanilla": 1e-6}.get(name, 1e-4)
        cooldown = 10 if name == "usi" else 0
        scheduler = CosineLRScheduler(
            optimizer, t_initial=epochs - cooldown, lr_min=1e-6, warmup_t=5, warmup_lr_init=first, warmup_prefix=False
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
    tolerance = 2e-6 if name == "distill_supergradients" else 1e-9  # there the course is one step longer
    assert ours == pytest.approx(list(reference_rates(name, recipe)), rel=1e-6, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("rsb_a2", "rand-m7-mstd0.5-inc1"),
        ("usi", "rand-m7-mstd0.5-inc1"),
        ("distill_vanilla", "rand-m7-mstd0.5"),
        ("distill_supergradients", "rand-m7-mstd0.5"),
    ],
)
def test_randaugment_has_the_operations_that_timm_makes_of_the_published_words(name, published):
    ours = RandAugment(recipe_of(name), 224).augment
    theirs = rand_augment_transform(published, {"translate_const": 100})
    assert [op.name for op in ours.ops] == [op.name for op in theirs.ops]
    assert ours.num_layers == theirs.num_layers
    for mine, its in zip(ours.ops, theirs.ops):
        assert (mine.magnitude, mine.magnitude_std, mine.prob) == (its.magnitude, its.magnitude_std, its.prob)


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
    settings["cooldown_epochs"] = min(1, recipe.cooldown_epochs) if settings["num_train_epochs"] > 2 else 0
    if recipe.teachers:
        settings["teacher"] = save_teacher(tmp_path / "teacher")
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


REFERENCES = ["torchvision_v1", "torchvision_v2", "rsb_a2", "rsb_a3", "fast_16"]
FORMULAS = ["distill_vanilla", "distill_supergradients", "distill_patient", "usi", "mlperf_lars", "algoperf_nesterov"]
LONGER = [name for name in RECIPES if name.startswith("fast_") and name != "fast_16"]


@pytest.mark.parametrize("name", LONGER)
def test_fast_recipes_are_the_shortest_with_more_epochs(name):
    """So that one of them, small, is all of them."""
    longer = recipe_of(name)
    epochs = {field: getattr(longer, field) for field in ("num_train_epochs", "image_size_ramp", "output_dir")}
    assert replace(recipe_of("fast_16"), **epochs) == longer


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in {*REFERENCES, *FORMULAS, *LONGER}])
def test_every_recipe_trains(name, image_folder, tmp_path, train):
    arguments = small(name, image_folder, tmp_path / "run", tmp_path, num_train_epochs=1, ema_start_epoch=0)
    train(arguments)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3]
    assert math.isfinite(rows[0]["train_loss"])
    assert all(
        value.isfinite().all() for value in load_file(tmp_path / "run" / "final" / "model.safetensors").values()
    )
    assert averages(tmp_path / "run") == (recipe_of(name).ema_decay is not None)


def averages(run) -> bool:
    """Whether it judged an average of the weights, and kept it."""
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    kept = (run / "final_average" / "model.safetensors").is_file()
    assert kept == ("average_val_top1" in last)
    return kept


@pytest.mark.parametrize("name", REFERENCES)
def test_nine_steps_equal_a_plain_loop_with_the_references_own_parts(name, image_folder, tmp_path, train):
    # Without stochastic depth, whose random numbers are the model's.
    arguments = small(name, image_folder, tmp_path / "run", tmp_path, overrides={"drop_path_rate": 0.0})
    train(arguments)

    recipe = parse_recipe(arguments)
    torch.manual_seed(recipe.seed)
    model = ResNet50ForImageClassification(model_config(recipe, ["ant", "bee", "cat"]))
    model.to(memory_format=torch.channels_last).train()
    steps, peak = 3, recipe.learning_rate
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
    assert step == 9
    compare(load_file(tmp_path / "run" / "final" / "model.safetensors"), model.state_dict())
    assert averages(tmp_path / "run") == (average is not None) == (recipe.ema_decay is not None)
    if average is not None:
        ours = load_file(tmp_path / "run" / "final_average" / "model.safetensors")
        theirs = average.module.state_dict()
        compare(ours, theirs)


class Published:
    """A step of each source's optimizer and loss, as its formulas have it, and an average of the weights."""

    def __init__(self, name, recipe, model, teacher):
        self.name, self.recipe, self.model, self.teacher = name, recipe, model, teacher
        self.step, self.rate_before = 0, 1.0
        self.first = [torch.zeros_like(p) for p in model.parameters()]
        self.second = [torch.zeros_like(p) for p in model.parameters()]
        groups = param_groups_weight_decay(model, recipe.weight_decay)
        self.library = {
            "usi": lambda: torch.optim.AdamW(groups, lr=1.0),
            "distill_vanilla": lambda: timm.optim.Lamb(groups, lr=1.0),
            "distill_supergradients": lambda: timm.optim.Lamb(groups, lr=1.0),
        }.get(name, lambda: None)()
        self.average = None

    def loss(self, batch):
        pixels, targets = batch["pixel_values"], batch["targets"]
        logits = self.model(pixels).logits
        log_q = logits.log_softmax(-1)
        if self.teacher is None:  # label smoothing as a target of its own
            share = self.recipe.label_smoothing_factor
            targets = (1 - share) * nn.functional.one_hot(targets, 3) + share / 3
            return -(targets * log_q).sum(-1).mean()
        with torch.no_grad():
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (self.recipe.image_mean, self.recipe.image_std))
            p = self.teacher((pixels * std + mean - 0.5) / 0.25).logits.softmax(-1)
        kl = (p * (p.log() - log_q)).sum(-1).mean()
        cross_entropy = -(targets * log_q).sum(-1).mean()
        match self.name:
            case "distill_vanilla":
                return nn.functional.binary_cross_entropy_with_logits(logits, targets) + kl
            case "distill_patient":
                return kl
            case "distill_supergradients":
                return 0.2 * cross_entropy + 0.8 * kl
            case "usi":
                return cross_entropy + 5 * kl

    @torch.no_grad()
    def update(self, rate):
        self.step += 1
        if self.library is not None:
            for group in self.library.param_groups:
                group["lr"] = rate
            self.library.step()
        else:
            norm = torch.stack([p.grad.norm() for p in self.model.parameters()]).norm()
            for p, m, v in zip(self.model.parameters(), self.first, self.second):
                getattr(self, self.name)(p, p.grad, m, v, rate, norm)
        self.rate_before = rate
        if self.recipe.ema_decay and self.step % self.recipe.ema_every_steps == 0:
            decay = self.recipe.ema_decay if self.average else 0.0
            before = self.average or self.model.state_dict()
            self.average = {n: decay * before[n] + (1 - decay) * w for n, w in self.model.state_dict().items()}

    def distill_patient(self, p, g, m, v, rate, norm):
        """big_vision's optax.make: clipped gradient, Adam times the rate, plus decay that is not, times the course."""
        g = g / max(1.0, norm)
        m.lerp_(g, 0.1)
        v.lerp_(g * g, 0.001)
        update = m / (1 - 0.9**self.step) / ((v / (1 - 0.999**self.step)).sqrt() + 1e-3)
        p -= rate / 0.03 * (0.03 * update + (0.0003 if p.dim() > 1 else 0) * p)

    def algoperf_nesterov(self, p, g, m, v, rate, norm):
        """optax: trace with Nesterov, add_decayed_weights, scale_by_learning_rate."""
        m.mul_(self.recipe.momentum).add_(g)
        p -= rate * (g + self.recipe.momentum * m + self.recipe.weight_decay * p)

    def mlperf_lars(self, p, g, m, v, rate, norm):
        """
        NVIDIA's: the momentum holds steps rather than gradients, and follows the rate as it changes. Its biases and
        BatchNorm, whose momentum does not follow, are the stated difference.
        """
        m.mul_(0.9 * rate / self.rate_before).add_(rate * (g if p.dim() == 1 else _adapted(p, g)))
        p -= m


def _adapted(p, g):
    """LARS: eta 0.001, decay 5e-5, no epsilon."""
    return 0.001 * p.norm() / (g.norm() + 5e-5 * p.norm()) * (g + 5e-5 * p)


@pytest.mark.parametrize("name", FORMULAS)
def test_nine_steps_equal_a_plain_loop_with_the_sources_formulas(name, image_folder, tmp_path, train):
    # A smooth activation: at a kink, the last bits of two ways to add up decide whether there is a gradient.
    fields = {"overrides": {"drop_path_rate": 0.0, "hidden_act": "silu"}}
    if name == "distill_patient":  # Adam makes large steps of the last bits of small gradients, but for this
        fields["optim_args"] = '{"eps": 0.001}'
    arguments = small(name, image_folder, tmp_path / "run", tmp_path, **fields)
    train(arguments)
    recipe = parse_recipe(arguments)
    teacher = load_teacher(recipe.teacher)[0].eval() if recipe.teachers else None
    torch.manual_seed(recipe.seed)
    model = ResNet50ForImageClassification(model_config(recipe, ["ant", "bee", "cat"]))
    model.to(memory_format=torch.channels_last).train()
    published = Published(name, recipe, model, teacher)
    data = load_training_data(recipe, torch.device("cpu"), 0, 0, 1)
    lr_at = learning_rate_schedule(recipe, 3)  # held to the source's own above
    for epoch in (1, 2, 3):
        data.train_loader.sampler.start(epoch)
        for batch in data.train_loader:
            model.zero_grad()
            published.loss(batch).backward()
            published.update(lr_at(published.step))
    assert published.step == 9
    compare(load_file(tmp_path / "run" / "final" / "model.safetensors"), model.state_dict(), 1e-4, 1e-5)
    assert averages(tmp_path / "run") == (recipe.ema_decay is not None)
    if recipe.ema_decay:
        compare(load_file(tmp_path / "run" / "final_average" / "model.safetensors"), published.average, 1e-4, 1e-5)


def compare(ours, theirs, rtol=1e-5, atol=1e-6):
    for name, value in ours.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")
