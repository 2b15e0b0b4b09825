"""What a student learns from its teachers: each loss against its formula and against timm's task, sizes, ensembles."""

import json

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from safetensors.torch import load_file
from shared import as_if_trained, save_teacher, tiny_arguments
from timm.models.resnet import Bottleneck, ResNet
from timm.task import LogitDistillationTask
from torch import nn

from modeling_resnet50 import ResNet50Config
from modeling_resnet50.hub.classifiers import TimmClassifier
from modeling_resnet50.training.losses import Criterion, Teacher, Teachers, dkd_loss, kl_divergence
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


class Says(nn.Module):
    """A teacher of one answer."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, pixel_values):
        return self.logits


def loss_of(logits, teacher_logits, targets, **fields):
    batch = {"targets": targets, "pixel_values": torch.zeros(1)}
    return Criterion(Recipe(teacher="somewhere", **fields), Says(teacher_logits))(logits, batch)


@pytest.fixture
def outputs():
    """Of the student, of the teacher, and labels, for five images and six classes."""
    return torch.randn(5, 6), 2 * torch.randn(5, 6), torch.tensor([0, 5, 2, 2, 1])


ONLY = {"distillation_alpha": 1.0}


def test_divergences_are_their_formulas_with_and_without_temperature_squared(outputs):
    logits, teacher_logits, _ = outputs
    p, q = (teacher_logits / 3).softmax(-1), (logits / 3).softmax(-1)
    kl, reverse = (p * (p / q).log()).sum(-1).mean(), (q * (q / p).log()).sum(-1).mean()
    at_3 = {**ONLY, "distillation_temperature": 3.0}
    for name, by_hand in (("kl", kl), ("reverse_kl", reverse)):
        fields = {**at_3, "distillation_loss": name}
        torch.testing.assert_close(loss_of(*outputs, **fields), 9 * by_hand)
        torch.testing.assert_close(loss_of(*outputs, **fields, distillation_temperature_scaling=False), by_hand)


def test_a_hard_teacher_is_a_second_label(outputs):
    logits, teacher_logits, labels = outputs
    by_hand = 0.5 * F.cross_entropy(logits, labels) + 0.5 * F.cross_entropy(logits, teacher_logits.argmax(-1))
    torch.testing.assert_close(loss_of(*outputs, distillation_loss="hard"), by_hand)


def test_dkd_is_its_two_divergences_written_out(outputs):
    logits, teacher_logits, labels = outputs
    expected = 0.0
    for student, teacher, label in zip(logits / 2, teacher_logits / 2, labels):
        q, p = student.softmax(-1), teacher.softmax(-1)
        b_q, b_p = torch.stack([q[label], 1 - q[label]]), torch.stack([p[label], 1 - p[label]])
        others = [i for i in range(6) if i != label]
        o_q, o_p = q[others] / q[others].sum(), p[others] / p[others].sum()
        expected += 1.5 * (b_p * (b_p / b_q).log()).sum() + 8 * (o_p * (o_p / o_q).log()).sum()
    fields = {**ONLY, "distillation_loss": "dkd", "dkd_alpha": 1.5, "dkd_beta": 8.0, "distillation_temperature": 2.0}
    torch.testing.assert_close(loss_of(*outputs, **fields), 4 * expected / 5)
    # Of mixed labels, the larger share counts.
    soft = 0.7 * F.one_hot(labels, 6) + 0.3 * F.one_hot(labels.flip(0), 6)
    torch.testing.assert_close(loss_of(logits, teacher_logits, soft, **fields), 4 * expected / 5)


def test_dkd_with_the_teachers_doubt_as_beta_is_the_plain_divergence(outputs):
    for student, teacher, label in zip(*outputs):
        doubt = (1 - teacher.softmax(-1)[label]).item()
        decoupled = dkd_loss(student[None], teacher[None], label[None], 1.0, 1.0, doubt)
        torch.testing.assert_close(decoupled, kl_divergence(student[None], teacher[None], 1.0))


def test_gradients_are_finite_where_the_teacher_is_sure():
    logits = torch.randn(3, 4).requires_grad_()
    sure = torch.tensor([[1e4, 0, 0, 0.0]]).expand(3, 4)
    for name in ("kl", "hard", "dkd"):
        loss_of(logits, sure, torch.tensor([0, 1, 2]), distillation_loss=name).backward()
        assert logits.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("ours", "timms"),
    [
        ({"task_loss_weight": 1.0, "distillation_alpha": 5.0}, {"task_loss_weight": 1.0, "distill_loss_weight": 5.0}),
        ({"distillation_alpha": 0.8, "distillation_temperature": 4.0}, {"task_loss_weight": 0.2, "temperature": 4.0}),
        ({"task_loss_weight": 0.0, "distillation_alpha": 1.0}, {"task_loss_weight": 0.0, "distill_loss_weight": 1.0}),
    ],
)
def test_loss_and_gradient_are_those_of_timms_task(ours, timms):
    def network():
        return ResNet(Bottleneck, (1, 1, 1, 1), channels=(4, 4, 4, 8), num_classes=3)

    student, model = network(), as_if_trained(network())
    student.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    model.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    pixels, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    reference = LogitDistillationTask(student, model, nn.CrossEntropyLoss(), verbose=False, **timms)
    expected = reference(pixels, labels)["loss"]
    expected.backward()
    gradients = [p.grad.clone() for p in student.parameters()]

    student.zero_grad()
    recipe = Recipe(teacher="somewhere", **ours)
    teacher = Teachers([Teacher(TimmClassifier(model), [0.5] * 3, [0.25] * 3, recipe, 3)])
    loss = Criterion(recipe, teacher)(student(pixels), {"targets": labels, "pixel_values": pixels})
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for ours_, theirs in zip(student.parameters(), gradients):
        torch.testing.assert_close(ours_.grad, theirs, rtol=1e-3, atol=1e-5)


def test_several_teachers_are_the_mean_of_their_probabilities(outputs):
    first, second, labels = outputs
    both = Teachers([Says(first), Says(second)])
    mean = (first.softmax(-1) + second.softmax(-1)) / 2
    torch.testing.assert_close(both(torch.zeros(1)).softmax(-1), mean)
    logits = torch.randn(5, 6)
    loss = Criterion(Recipe(teacher=["a", "b"], **ONLY), both)(logits, {"targets": labels, "pixel_values": mean})
    # Its gradient is that of the mean of the divergences, which is how others write an ensemble.
    x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    kl_divergence(x, both(mean), 1.0).backward()
    ((kl_divergence(y, first, 1.0) + kl_divergence(y, second, 1.0)) / 2).backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(loss, kl_divergence(logits, mean.log(), 1.0))


def test_a_teacher_sees_images_of_its_own_size():
    class Looks(nn.Module):
        config = ResNet50Config(num_labels=3)

        def forward(self, pixel_values):
            self.seen = pixel_values
            return type("Output", (), {"logits": pixel_values.mean((2, 3))})

    pixels = torch.rand(2, 3, 20, 20)
    for size in (32, 12, 20):
        recipe = Recipe(teacher="somewhere", teacher_image_size=size)
        teacher = Teacher(Looks(), recipe.image_mean, recipe.image_std, recipe, 3)
        teacher(pixels)
        expected = TF.resize(pixels, [size, size], antialias=True)
        torch.testing.assert_close(teacher.model.seen, expected, rtol=1e-4, atol=1e-4)


def test_a_run_with_two_teachers_learns_resumes_and_names_them_on_its_card(image_folder, tmp_path, train):
    first, second = (save_teacher(tmp_path / name, seed) for seed, name in enumerate(("first", "second")))
    fields = {
        "teacher": [first, second], "teacher_image_size": 32, "distillation_alpha": 1.0, "task_loss_weight": 0.5,
        "mixup_alpha": 0.2, "checkpoint_every_epochs": 1, "num_train_epochs": 3, "cooldown_epochs": 1,
    }  # fmt: skip
    train(tiny_arguments(image_folder, tmp_path / "whole", **fields))
    train(tiny_arguments(image_folder, tmp_path / "two", **fields))
    for folder in ("epoch-0003", "epoch-0002"):
        for path in (tmp_path / "two" / "checkpoints" / folder).iterdir():
            path.unlink()
        (tmp_path / "two" / "checkpoints" / folder).rmdir()
    train([*tiny_arguments(image_folder, tmp_path / "two", **fields), "--resume_from_checkpoint", "latest"])
    whole, two = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "two"))
    assert all(torch.equal(whole[name], two[name]) for name in whole)
    card = (tmp_path / "whole" / "final" / "README.md").read_text()
    assert "It was distilled from `first` and `second`." in card
    assert str(tmp_path) not in card
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["learning_rate"] == 0.0  # cooling down
    assert rows[-2]["learning_rate"] > 0.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teacher": "a", "distillation_alpha": 5.0}, "distillation_alpha must be in \\[0, 1\\], or task_loss_weight"),
        ({"teacher_image_size": 224}, "teacher_image_size is about a teacher, and there is none"),
        ({"task_loss_weight": 1.0}, "task_loss_weight is about a teacher, and there is none"),
        ({"teacher": "a", "teacher_image_size": 0}, "teacher_image_size must be at least 1"),
        ({"teacher": "a", "dkd_beta": -1.0}, "dkd_beta must be 0 or more"),
        ({"cooldown_epochs": 86.0}, "cooldown_epochs and warmup_epochs must fit into the training"),
        ({"cooldown_epochs": 5.0, "lr_scheduler_type": "one_cycle"}, "one_cycle ends where it ends"),
    ],
)
def test_what_makes_no_sense_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        Recipe(**fields)


def test_teachers_are_one_word_or_several(tmp_path):
    assert Recipe().teachers == []
    assert Recipe(teacher="a").teachers == Recipe(teacher=["a"]).teachers == ["a"]
    assert Recipe(teacher=["a"]).changes_since({"teacher": "a"}) == []
    assert Recipe(teacher=["a", "b"]).teachers == ["a", "b"]
    published = Recipe(teacher=[str(tmp_path), "user/name"]).public_dict()["teacher"]
    assert published == [tmp_path.name, "user/name"]
