"""Mixup, CutMix, repeated augmentation, losses and averages: against timm's, torchvision's and PyTorch's own."""

import collections
import itertools

import numpy as np
import pytest
import torch
from shared import TINY
from timm.data import Mixup
from timm.data.distributed_sampler import RepeatAugSampler
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data import sampling
from modeling_resnet50.data.augmentation import TrainingTransform, image_size_at
from modeling_resnet50.data.mixing import Mixing
from modeling_resnet50.training.averaging import (
    create_average,
    first_averaged_step,
    freeze_batch_norm,
    recalibrate_batch_norm,
)
from modeling_resnet50.training.losses import Criterion, Teacher, kl_divergence
from modeling_resnet50.training.optimization import create_optimizer, learning_rate_schedule
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


MIXES = [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}]


def batch_of(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, 16, 16, generator=generator), torch.randint(0, 5, (n,), generator=generator)


# Mixing


@pytest.mark.parametrize("settings", MIXES)
def test_mixing_is_timms_for_the_same_draw(settings):
    recipe = Recipe(total_train_batch_size=8, label_smoothing_factor=0.1, seed=3, **settings)
    images, labels = batch_of(8)
    for epoch in range(1, 6):
        mixed, targets = Mixing(recipe, 5)(images.clone(), labels, epoch, 7)
        # timm pairs first with last: give it neighbours there.
        order = [0, 2, 4, 6, 7, 5, 3, 1]
        np.random.seed(np.random.SeedSequence((3, epoch, 7, 0)).generate_state(4))
        theirs = Mixup(
            settings.get("mixup_alpha", 0.0), settings.get("cutmix_alpha", 0.0), label_smoothing=0.1, num_classes=5
        )
        expected, expected_targets = theirs(images[order].clone(), labels[order])
        assert torch.equal(mixed[order], expected)
        assert torch.equal(targets[order], expected_targets)


def test_mixing_does_not_depend_on_how_the_batch_is_spread():
    settings = {"mixup_alpha": 0.2, "cutmix_alpha": 1.0, "mixup_group_size": 6, "total_train_batch_size": 16}
    images, labels = batch_of(16)
    recipe = Recipe(**settings)
    whole, whole_targets = Mixing(recipe, 5)(images.clone(), labels, 2, 3)
    for passes, processes in ((8, 1), (1, 2), (2, 4)):
        size = 16 // passes // processes
        for number in range(passes):
            for process in range(processes):
                part = slice((number * processes + process) * size, (number * processes + process + 1) * size)
                mixing = Mixing(recipe, 5, passes, process, processes)
                mixed, targets = mixing(images[part].clone(), labels[part], 2, 3 * passes + number)
                assert torch.equal(mixed, whole[part])
                assert torch.equal(targets, whole_targets[part])


def test_mixing_changes_with_epoch_and_step_and_leaves_numpys_generator_alone():
    mixing = Mixing(Recipe(mixup_alpha=1.0, total_train_batch_size=8), 5)
    images, labels = batch_of(8)
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    seen = {
        mixing(images.clone(), labels, epoch, step)[0].square().sum().item() for epoch in (1, 2) for step in (0, 1)
    }
    assert len(seen) == 4
    assert np.random.rand() == expected


def test_mixing_ends_after_its_last_epoch_with_targets_as_they_are_without():
    recipe = Recipe(mixup_alpha=1.0, mixup_off_epoch=2, label_smoothing_factor=0.1, total_train_batch_size=8)
    images, labels = batch_of(8)
    mixing = Mixing(recipe, 5)
    always = Mixing(Recipe(**{**MIXES[0], "mixup_alpha": 1.0, "label_smoothing_factor": 0.1}), 5)
    for epoch in (3, 1, 2, 4):  # as workers and rollbacks have it, in any order
        mixed, targets = mixing(images.clone(), labels, epoch, 0)
        if epoch <= 2:
            expected, _ = always(images.clone(), labels, epoch, 0)
            assert torch.equal(mixed, expected)
            assert not torch.equal(mixed, images)
        else:
            assert torch.equal(mixed, images)
            torch.testing.assert_close(targets, F.one_hot(labels, 5) * 0.9 + 0.02)
    with pytest.raises(UserError, match="mixup_off_epoch ends what was never on"):
        Recipe(mixup_off_epoch=2)


def test_odd_share_of_a_batch_cannot_be_mixed():
    with pytest.raises(UserError, match="mix images in pairs, but a process has 3 at once"):
        Mixing(Recipe(mixup_alpha=1.0, total_train_batch_size=6), 5, num_processes=2)


# Sampling and sizes


def test_repeated_augmentation_puts_into_each_total_batch_what_timms_sampler_does(monkeypatch):
    num_images, repeats, total, replicas = 96, 3, 12, 4
    samplers = [
        RepeatAugSampler(range(num_images), replicas, rank, num_repeats=repeats, selected_round=0)
        for rank in range(replicas)
    ]
    shares = [list(sampler) for sampler in samplers]
    generator = torch.Generator().manual_seed(0)
    permutation = torch.randperm(num_images, generator=generator).numpy()
    monkeypatch.setattr(sampling, "epoch_order", lambda *_: permutation)
    sampler = sampling.TrainSampler(num_images, total, seed=0, repeats=repeats)
    sampler.start(1)
    each = total // replicas
    for step, batch in enumerate(sampler):
        theirs = [index for share in shares for index in share[step * each : (step + 1) * each]]
        assert collections.Counter(index for _, index, _ in batch) == collections.Counter(theirs)
        assert len({(index, repeat) for _, index, repeat in batch}) == total  # each repeat is augmented by itself
    assert step + 1 == num_images // total


def test_image_size_grows_as_in_ffcv():
    recipe = Recipe(image_size=192, image_size_start=160, image_size_ramp=[65, 76], num_train_epochs=88)
    sizes = [image_size_at(recipe, epoch) for epoch in range(1, 89)]
    expected = [
        160 if e <= 65 else 192 if e >= 76 else int(np.round(np.interp(e, [65, 76], [160, 192]) / 32)) * 32
        for e in range(88)
    ]
    assert sizes == expected
    assert image_size_at(Recipe(), 50) == 224


@pytest.mark.parametrize(("start", "end", "between"), [(12, 16, 12), (40, 60, 60), (100, 110, 100), (16, 12, 12)])
def test_image_size_stays_between_its_ends(start, end, between):
    """Multiples of 32 may lie outside: 0 of 14 pixels, 96 of 105."""
    recipe = Recipe(image_size=end, image_size_start=start, image_size_ramp=[1, 3], num_train_epochs=5)
    assert [image_size_at(recipe, epoch) for epoch in range(1, 6)] == [start, start, between, end, end]


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment", "autoaugment", "augmix", "three_augment"])
def test_every_policy_changes_pixels_by_the_seed_alone(policy):
    transform = TrainingTransform(Recipe(image_size=32, auto_augment=policy, color_jitter=0.4, random_erasing=1.0))
    pixels = torch.randint(0, 256, (3, 50, 40), dtype=torch.uint8)
    seen = []
    for seed in (1, 2, 3, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        __import__("random").seed(seed)
        seen.append(transform(pixels))
        assert seen[-1].shape == (3, 32, 32)
        assert seen[-1].dtype == torch.uint8
    assert torch.equal(seen[0], seen[3])
    assert not torch.equal(seen[0], seen[1])


# Losses


def test_losses_are_timms_and_pytorchs():
    logits, labels = torch.randn(6, 5), torch.randint(0, 5, (6,))
    soft = torch.rand(6, 5).softmax(-1)
    plain = Criterion(Recipe(label_smoothing_factor=0.1))
    assert plain(logits, {"targets": labels}) == F.cross_entropy(logits, labels, label_smoothing=0.1)
    mixing = Criterion(Recipe(label_smoothing_factor=0.1, mixup_alpha=0.2))
    torch.testing.assert_close(mixing(logits, {"targets": soft}), SoftTargetCrossEntropy()(logits, soft))
    bce = Criterion(Recipe(loss="bce", bce_target_threshold=0.2, mixup_alpha=0.2, label_smoothing_factor=0.1))
    expected = BinaryCrossEntropy(0.0, target_threshold=0.2)(logits, soft)
    assert bce(logits, {"targets": soft}) == expected
    by_hand = F.binary_cross_entropy_with_logits(logits, (soft > 0.2).float())
    torch.testing.assert_close(bce(logits, {"targets": soft}), by_hand)


def test_the_teacher_sees_its_own_normalisation_and_has_its_share_of_the_loss():
    logits = torch.randn(4, 5)
    recipe = Recipe(teacher="somewhere", distillation_alpha=0.25, distillation_temperature=3.0)
    model = ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=5))
    teacher = Teacher(model, [0.5] * 3, [0.25] * 3, recipe, 5)
    pixels = torch.rand(4, 3, 32, 32)
    mean, std = torch.tensor(recipe.image_mean).view(3, 1, 1), torch.tensor(recipe.image_std).view(3, 1, 1)
    expected = model((pixels - 0.5) / 0.25).logits
    torch.testing.assert_close(teacher((pixels - mean) / std), expected, rtol=1e-4, atol=1e-5)
    labels = torch.tensor([0, 1, 2, 3])
    loss = Criterion(recipe, teacher)(logits, {"targets": labels, "pixel_values": (pixels - mean) / std})
    by_hand = 0.75 * F.cross_entropy(logits, labels) + 0.25 * 9 * kl_divergence(logits, expected, 3.0)
    torch.testing.assert_close(loss, by_hand, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="tells 5 classes apart, but the data has 7"):
        Teacher(model, [0.5] * 3, [0.25] * 3, recipe, 7)


# Averages


def small_network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))


@pytest.mark.parametrize("warmup", [False, True])
def test_ema_is_timms_with_the_buffers(warmup):
    model = small_network()
    ours = create_average(model, Recipe(ema_decay=0.9, ema_warmup=warmup))
    theirs = ModelEmaV3(model, decay=0.9, use_warmup=warmup)
    for step in range(1, 8):
        with torch.no_grad():
            for value in model.parameters():
                value.add_(torch.randn_like(value))
            model.train()(torch.randn(4, 3, 16, 16))
        ours.after_step(model, list(model.buffers()), step, 1)
        theirs.update(model, step)
    for a, b in zip(ours.module.state_dict().values(), theirs.module.state_dict().values()):
        assert torch.equal(a, b)
    resumed = create_average(small_network(), Recipe(ema_decay=0.9, ema_warmup=warmup))
    resumed.load_state_dict(ours.state_dict())
    for average in (ours, resumed):
        average.after_step(model, list(model.buffers()), 8, 1)
    for a, b in zip(ours.module.state_dict().values(), resumed.module.state_dict().values()):
        assert torch.equal(a, b)


def test_swa_is_the_mean_of_the_epochs_from_its_start_on():
    model = small_network()
    average = create_average(model, Recipe(swa_start_epoch=2, batch_norm_recalibration_steps=1))
    seen = []
    for epoch in (1, 2, 3, 4):
        with torch.no_grad():
            model[0].weight.normal_()
        seen.append(model[0].weight.detach().clone())
        average.after_epoch(model, epoch)
        assert average.has_begun == (epoch >= 2)
    torch.testing.assert_close(average.module[0].weight, torch.stack(seen[1:]).mean(0))


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"ema_decay": 0.9}, 1),
        ({"ema_decay": 0.9, "ema_every_steps": 4}, 4),
        ({"ema_decay": 0.9, "ema_every_steps": 30}, 30),
        ({"ema_decay": 0.9, "ema_every_steps": 4, "ema_start_epoch": 1}, 8),
        ({"ema_decay": 0.9, "ema_every_steps": 5, "ema_start_epoch": 1}, 10),
        ({"ema_decay": 0.9, "ema_start_epoch": 3}, 16),
        ({"swa_start_epoch": 2, "batch_norm_recalibration_steps": 1}, 10),
    ],
)
def test_an_average_begins_at_its_first_update_also_when_resumed(fields, first):
    recipe = Recipe(num_train_epochs=4, warmup_epochs=1.0, **fields)
    assert first_averaged_step(recipe, steps_per_epoch=5) == first
    average, model = create_average(small_network(), recipe), small_network()
    for step in range(1, 21):
        epoch = (step + 4) // 5
        average.after_step(model, list(model.buffers()), step, epoch)
        if step % 5 == 0:
            average.after_epoch(model, epoch)
        assert average.has_begun == (step >= first)
        resumed = create_average(small_network(), recipe)
        resumed.load_state_dict(average.state_dict())
        assert resumed.has_begun == average.has_begun


def test_recalibrated_statistics_are_the_means_over_the_batches():
    from accelerate import Accelerator

    model = small_network().eval()
    batches = [{"pixel_values": torch.randn(5, 3, 16, 16)} for _ in range(4)]
    recalibrate_batch_norm(model, batches, 3, Accelerator(cpu=True))
    values = [model[0](batch["pixel_values"]).detach() for batch in batches[:3]]
    mean = torch.stack([value.mean((0, 2, 3)) for value in values]).mean(0)
    variance = torch.stack([value.transpose(0, 1).flatten(1).var(1) for value in values]).mean(0)
    torch.testing.assert_close(model[1].running_mean, mean)
    torch.testing.assert_close(model[1].running_var, variance)
    assert not model.training


def test_frozen_batch_norm_keeps_its_statistics():
    model = small_network().train()
    freeze_batch_norm(model)
    model(torch.randn(4, 3, 16, 16))
    assert torch.equal(model[1].running_mean, torch.zeros(4))
    assert model.training


# Schedules and optimizers beside the recipes' own


def one_cycle_of_pytorch(total_steps: int, pct_start: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, total_steps, pct_start=pct_start, cycle_momentum=False
    )
    rates = []
    for step in range(total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total_steps - 1:
            theirs.step()
    return rates


def test_one_cycle_is_pytorchs_for_any_steps_epochs_and_warmup():
    one_step = 0
    for steps, epochs in itertools.product((1, 2, 3, 7), (1, 2, 5, 49)):
        for warmup in {0.0, 0.3, 0.5, 1 / steps, 1.0, 2 / steps, epochs / 3, float(epochs)}:
            if warmup > epochs:
                continue
            fields = {"learning_rate": 0.4, "num_train_epochs": epochs, "warmup_epochs": warmup}
            lr_at = learning_rate_schedule(Recipe(lr_scheduler_type="one_cycle", **fields), steps)
            rates = [lr_at(step) for step in range(steps * epochs)]
            if abs(warmup * steps - 1) > 1e-9:
                assert rates == pytest.approx(
                    one_cycle_of_pytorch(steps * epochs, warmup / epochs), rel=1e-6, abs=1e-9
                )
                continue
            # PyTorch divides by zero, or, as 1 / 49 * 49 is not 1, does not: at the peak, then down to its last value.
            one_step += 1
            assert rates[0] == pytest.approx(0.4)
            assert rates == sorted(rates, reverse=True)
            assert steps * epochs == 1 or rates[-1] == pytest.approx(0.4 / 25e4)
    assert one_step > 10


def test_polynomial_is_pytorchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    theirs = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=100, power=2.0)
    recipe = Recipe(lr_scheduler_type="polynomial", learning_rate=0.4, num_train_epochs=10, warmup_epochs=0.0)
    lr_at = learning_rate_schedule(recipe, 10)
    for step in range(100):
        assert lr_at(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("name", ["lamb", "lars", "adamw", "sgd", "lion"])
def test_optimizers_come_from_timm_by_name(name, tiny_config):
    model = ResNet50ForImageClassification(tiny_config)
    optimizer = create_optimizer(model, Recipe(optim=name, weight_decay_on="all_but_norm_and_bias", nesterov=True))
    assert name.lower() in type(optimizer).__name__.lower()
    spared = {id(p) for group in optimizer.param_groups if not group["weight_decay"] for p in group["params"]}
    assert spared == {id(p) for p in model.parameters() if p.ndim == 1}
    if name == "sgd":
        assert optimizer.param_groups[0]["nesterov"]


def test_unknown_optimizer_and_arguments_are_named(tiny_config):
    model = ResNet50ForImageClassification(tiny_config)
    with pytest.raises(UserError, match=r"no such optimizer; did you mean 'lamb"):
        create_optimizer(model, Recipe(optim="lambb"))
    with pytest.raises(UserError, match="optim_args"):
        create_optimizer(model, Recipe(optim="adamw", optim_args={"bettas": [0.9, 0.99]}))


@pytest.mark.parametrize(
    ("optim", "given", "said"),
    [
        ("lamb", {"opt": "adamw"}, "unexpected keyword argument 'opt'"),  # as timm's factory calls the optimizer
        ("adamw", {"layer_decay": 0.5}, "unexpected keyword argument 'layer_decay'"),
        ("momentum", {"eps": 1e-8}, "unexpected keyword argument 'eps'"),
        ("sgd", {"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together"),
        ("fusedadam", None, "CUDA required|apex to be installed"),
        ("adahessian", None, "needs second derivatives"),
    ],
)
def test_what_an_optimizer_does_not_take_is_no_other_one(optim, given, said, tiny_config):
    model = ResNet50ForImageClassification(tiny_config)
    with pytest.raises(UserError, match=f"optim {optim}.*({said})"):
        create_optimizer(model, Recipe(optim=optim, optim_args=given))


@pytest.mark.parametrize("optim", ["sgd", "lamb"])
@pytest.mark.parametrize(
    ("argument", "field"), [("lr", "learning_rate"), ("weight_decay", "weight_decay"), ("momentum", "momentum")]
)
def test_optim_args_repeat_no_field(optim, argument, field):
    with pytest.raises(UserError, match=f"{argument} is the recipe's own field {field}"):
        Recipe(optim=optim, optim_args={argument: 0.5})


@pytest.mark.parametrize("optim", ["lamb", "lars", "adamw", "sgdp", "larc", "rmsproptf", "nadam", "lion", "nesterov"])
def test_optimizers_are_set_as_timms_factory_sets_them(optim, tiny_config):
    model = ResNet50ForImageClassification(tiny_config)
    ours = create_optimizer(model, Recipe(optim=optim, learning_rate=0.2, momentum=0.8, weight_decay=0.3))
    theirs = create_optimizer_v2(list(model.parameters()), optim, lr=0.2, momentum=0.8, weight_decay=0.3)
    assert type(ours) is type(theirs)
    assert ours.defaults == theirs.defaults


def test_erasing_is_torchvisions():
    transform = TrainingTransform(
        Recipe(image_size=32, random_erasing=1.0, random_flip=0.0, random_crop_scale=[1.0, 1.0],
               random_crop_ratio=[1.0, 1.0])
    )  # fmt: skip
    erased = transform(torch.zeros(3, 32, 32, dtype=torch.uint8))
    colours = {tuple(colour) for colour in erased.flatten(1).T.tolist()}
    assert colours == {(0, 0, 0), (124, 116, 104)}
    assert isinstance(transform.steps(32)[-1], v2.RandomErasing)
