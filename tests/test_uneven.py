"""Classes of which some have many more images: weights, sampling, losses; by scikit-learn, PyTorch and timm."""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from shared import tiny_arguments, write_image, write_shards
from sklearn.utils.class_weight import compute_class_weight
from timm.loss import BinaryCrossEntropy
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from modeling_resnet50.data.class_counts import counts_in_words
from modeling_resnet50.data.mixing import Mixing
from modeling_resnet50.data.pipeline import load_training_data
from modeling_resnet50.data.sampling import TrainSampler, balanced_order
from modeling_resnet50.prepare.check import check_folder
from modeling_resnet50.training.losses import Criterion
from modeling_resnet50.training.uneven import class_weights
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.recipe_file import parse_recipe


NAMES = ["ant", "bee", "cat"]
LABELS = np.array([0] * 40 + [1] * 9 + [2] * 3)
COUNTS = np.bincount(LABELS)


def weights_of(**fields) -> torch.Tensor:
    return class_weights(Recipe(**fields), COUNTS, NAMES)


def outputs(images=52, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, 3, generator=generator), torch.from_numpy(LABELS)[:images]


# Weights


def test_balanced_weights_are_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    assert np.allclose(weights_of(class_weights="balanced"), expected)


@pytest.mark.parametrize("beta", [0.9, 0.999])
def test_effective_weights_are_those_of_the_paper_with_a_mean_of_1_over_the_images(beta):
    found = weights_of(class_weights="effective", effective_number_beta=beta).double().numpy()
    paper = [(1 - beta) / (1 - beta**count) for count in (40, 9, 3)]
    assert np.allclose(found / found[0], np.array(paper) / paper[0])
    assert found[LABELS].mean() == pytest.approx(1)


def test_weights_are_a_list_a_mapping_or_a_file_of_one_and_their_scale_does_not_matter(tmp_path):
    (tmp_path / "list.json").write_text("[1, 2, 4]")
    (tmp_path / "named.yaml").write_text("cat: 8\nant: 2\nbee: 4\n")
    recipe = ["--config", "recipes/digits.yaml", "--class_weights"]
    expected = weights_of(class_weights=[1.0, 2.0, 4.0])
    assert expected[torch.from_numpy(LABELS)].mean() == pytest.approx(1)
    for given in (
        ["1", "2", "4"], ["{ant: 1, bee: 2, cat: 4}"], [str(tmp_path / "list.json")], [str(tmp_path / "named.yaml")]
    ):  # fmt: skip
        parsed = parse_recipe([*recipe, *given])
        assert not isinstance(parsed.class_weights, str), "the run keeps the numbers, not the name of a file"
        assert torch.equal(class_weights(parsed, COUNTS, NAMES), expected)
    assert parse_recipe([*recipe, "balanced"]).class_weights == "balanced"
    (tmp_path / "digits.yaml").write_text("7: 2\n")
    assert parse_recipe([*recipe, str(tmp_path / "digits.yaml")]).class_weights == {"7": 2.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("balancd", "no file to be read"), ("[1, -1]", "none negative"), ("[0, 0]", "not all 0"),
        ("{ant: heavy}", "class_weights"), ("5", "class_weights"), ("[1, [2]]", "class_weights"),
    ],
)  # fmt: skip
def test_weights_that_are_none_are_refused_at_once(given, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(["--config", "recipes/digits.yaml", "--class_weights", given])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], "2 numbers, but the data has 3 classes"),
        ({"ant": 1.0, "bea": 1.0, "cat": 1.0}, "no class 'bea'; did you mean 'bee'"),
        ({"ant": 1.0}, "2 classes have none, first 'bee'"),
    ],
)
def test_weights_of_other_classes_are_refused(given, message):
    with pytest.raises(UserError, match=message):
        weights_of(class_weights=given)


def test_weights_need_images_to_weigh_by():
    with pytest.raises(UserError, match="no training image is a 'bee'"):
        class_weights(Recipe(class_weights="effective"), np.array([5, 0, 2]), NAMES)
    with pytest.raises(UserError, match="leave no training image a weight"):
        class_weights(Recipe(class_weights=[0.0, 1.0, 0.0]), np.array([5, 0, 2]), NAMES)


# Losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_is_pytorchs_over_all_training_images(smoothing):
    logits, labels = outputs()
    recipe = Recipe(class_weights="balanced", label_smoothing_factor=smoothing)
    weight = torch.tensor([3.0, 1.0, 7.0])
    given = Criterion(recipe, class_weights=weights_of(class_weights=weight.tolist()))
    theirs = torch.nn.CrossEntropyLoss(weight, label_smoothing=smoothing)
    assert torch.allclose(given(logits, {"targets": labels}), theirs(logits, labels))


def test_equal_parts_of_a_batch_average_to_the_whole_as_pytorchs_mean_does_not():
    logits, labels = outputs()
    order = torch.randperm(52, generator=torch.Generator().manual_seed(1))
    criterion = Criterion(Recipe(class_weights="balanced"), class_weights=weights_of(class_weights="balanced"))
    theirs = torch.nn.CrossEntropyLoss(weights_of(class_weights="balanced"))
    halves = [(logits[part], labels[part]) for part in order.chunk(2)]
    whole, ours = (
        torch.stack([criterion(x, {"targets": y}) for x, y in c]).mean() for c in ([(logits, labels)], halves)
    )
    assert torch.allclose(whole, ours)
    assert not torch.allclose(whole, torch.stack([theirs(x, y) for x, y in halves]).mean())


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_softmax_focal_loss_by_hand_with_weights_and_mixed_targets(gamma):
    logits, labels = outputs(8)
    recipe = Recipe(focal_gamma=gamma, mixup_alpha=0.3, total_train_batch_size=8, class_weights="balanced")
    weights = weights_of(class_weights="balanced")
    _, targets = Mixing(recipe, 3)(torch.zeros(8, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), 1, 0)
    assert targets.max() < 1, "mixed"
    p = logits.softmax(-1).numpy()
    by_hand = -sum(
        weights[c].item() * targets[i, c].item() * (1 - p[i, c]) ** gamma * np.log(p[i, c])
        for i in range(8)
        for c in range(3)
    )
    found = Criterion(recipe, class_weights=weights)(logits, {"targets": targets})
    assert found.item() == pytest.approx(by_hand / 8, rel=1e-5)
    smoothed = Criterion(Recipe(focal_gamma=gamma, label_smoothing_factor=0.2), class_weights=weights)
    soft = F.one_hot(labels, 3) * 0.8 + 0.2 / 3
    by_hand = (-weights * soft * (1 - logits.softmax(-1)) ** gamma * logits.log_softmax(-1)).sum(-1).mean()
    assert torch.allclose(smoothed(logits, {"targets": labels}), by_hand)


def test_binary_focal_loss_is_torchvisions_and_without_gamma_timms():
    logits, labels = outputs()
    wanted = F.one_hot(labels, 3).float()
    focal = Criterion(Recipe(loss="bce", focal_gamma=2.0))
    theirs = sigmoid_focal_loss(logits, wanted, alpha=-1, gamma=2, reduction="mean")
    assert torch.allclose(focal(logits, {"targets": labels}), theirs)
    recipe = Recipe(loss="bce", bce_target_threshold=0.2, label_smoothing_factor=0.1, class_weights="balanced")
    same = Criterion(recipe, class_weights=torch.ones(3))
    timms = BinaryCrossEntropy(0.1, target_threshold=0.2)
    assert torch.allclose(same(logits, {"targets": labels}), timms(logits, labels))
    weights = weights_of(class_weights="balanced")
    weighted = Criterion(Recipe(loss="bce", class_weights="balanced"), class_weights=weights)
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(-1)
    assert torch.allclose(weighted(logits, {"targets": labels}), (each * weights[labels]).mean())


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_a_model_that_is_sure_has_finite_gradients_and_compiles(loss):
    criterion = Criterion(Recipe(loss=loss, focal_gamma=1.0), class_weights=torch.tensor([1.0, 2.0, 3.0]))
    logits = torch.tensor([[200.0, -200.0, 0.0], [0.0, 100.0, -90.0]], requires_grad=True)
    criterion.compile(backend="eager", fullgraph=True)
    criterion(logits, {"targets": torch.tensor([0, 2])}).backward()
    assert logits.grad.isfinite().all()
    with pytest.raises(UserError, match="focal_gamma must be 0, or at least 1"):
        Recipe(focal_gamma=0.5)


# Sampling


@pytest.mark.parametrize(
    ("power", "expected"),
    [(1.0, [40, 9, 3]), (0.0, [17 + 1 / 3] * 3), (0.5, 52 * np.sqrt(COUNTS) / np.sqrt(COUNTS).sum())],
)
def test_an_epoch_has_of_each_class_its_share_and_of_its_images_as_many_as_of_each_other(power, expected):
    seen, extra = [], Counter()
    for epoch in range(1, 61):
        order = balanced_order(7, epoch, LABELS, power)
        assert np.array_equal(order, balanced_order(7, epoch, LABELS, power))
        of_class = np.bincount(LABELS[order[:, 0]], minlength=3)
        assert order.shape == (52, 2)
        assert (abs(of_class - expected) < 1).all()
        times = Counter(order[:, 0].tolist())
        for label in range(3):
            of_images = [times[i] for i in np.flatnonzero(label == LABELS)]
            assert max(of_images) - min(of_images) <= 1
        assert len({tuple(sample) for sample in order.tolist()}) == 52, "no image twice with the same augmentation"
        assert all(repeat < times[index] for index, repeat in order.tolist())
        seen.append(of_class)
        extra.update(order[:, 0].tolist())
    assert np.allclose(np.mean(seen, axis=0), expected, atol=0.5)
    assert min(extra.values()) >= 0.5 * 60 * min(1, expected[0] / 40), "every image has its turn"
    assert not np.array_equal(balanced_order(7, 1, LABELS, power), balanced_order(8, 1, LABELS, power))


def test_two_processes_see_what_one_with_two_passes_sees():
    fields = {"labels": LABELS, "power": 0.0}
    one = TrainSampler(52, 8, 3, 2, **fields)
    two = [TrainSampler(52, 8, 3, 1, rank, 2, **fields) for rank in range(2)]
    for sampler in (one, *two):
        sampler.start(4)
    together = [part for pair in zip(*two) for part in pair]
    assert list(one) == together
    one.start(4, images=16)
    assert list(one) == together[4:], "and goes on within an epoch"


def test_combinations_that_mean_nothing_are_refused():
    for fields in ({"streaming": True}, {"augmentation_repeats": 2}, {"class_weights": "balanced"}):
        with pytest.raises(UserError, match="sampling sqrt"):
            Recipe(sampling="sqrt", **fields)


# A run


def test_counts_in_words_say_when_it_matters():
    assert counts_in_words(np.array([5, 5]), NAMES) == "5 images in each class"
    assert counts_in_words(np.array([5, 50, 7]), NAMES) == "5 (ant) to 50 (bee) images in a class, median 7"
    assert "That is uneven, 13 : 1" in counts_in_words(COUNTS, NAMES)
    assert "some have none" in counts_in_words(np.array([0, 3]), NAMES)


def test_check_shows_the_class_counts_and_says_when_it_matters(uneven_folder):
    notes = check_folder(uneven_folder).notes
    assert any(note.startswith("train: 2 (cat) to 22 (ant) images in a class, median 6. That is") for note in notes)
    assert "val: 2 images in each class" in notes


@pytest.fixture(scope="module")
def uneven_folder(tmp_path_factory):
    """22, 6 and 2 images of three classes to train on."""
    root = tmp_path_factory.mktemp("uneven") / "images"
    for split, counts in (("train", (22, 6, 2)), ("val", (2, 2, 2))):
        for label, (name, count) in enumerate(zip(NAMES, counts)):
            for number in range(count):
                write_image(root / split / name / f"{number}.jpg", seed=1000 * label + 100 * len(split) + number)
    return root


def test_streamed_and_packed_data_have_the_same_weights_as_the_folder(uneven_folder, tmp_path):
    packed = write_shards(uneven_folder, tmp_path / "packed")
    counts = []
    for source, streaming in ((uneven_folder, False), (packed, False), (packed, True)):
        fields = {"streaming": streaming, "class_weights": "balanced"}
        recipe = parse_recipe(tiny_arguments(source, tmp_path / "run", **fields))
        counts.append(load_training_data(recipe, torch.device("cpu"), 0, 0, 1).class_counts.tolist())
    assert counts == [[22, 6, 2]] * 3


def test_an_uneven_run_says_so_and_resumes_to_the_same_weights(train, uneven_folder, tmp_path, capsys):
    fields = {"sampling": "balanced", "focal_gamma": 2, "checkpoint_every_steps": 2, "checkpoint_every_epochs": 1}
    train(tiny_arguments(uneven_folder, tmp_path / "whole", **fields))
    said = " ".join(capsys.readouterr().out.split())
    assert "2 (cat) to 22 (ant) images in a class, median 6. That is uneven, 11 : 1" in said
    assert "sampling balanced, focal_gamma 2" in said
    train(tiny_arguments(uneven_folder, tmp_path / "again", **fields))
    newest = sorted((tmp_path / "again" / "checkpoints").iterdir())
    train(tiny_arguments(uneven_folder, tmp_path / "again", resume_from_checkpoint=newest[1], **fields))
    rows = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "again")
    ]
    assert rows[0][-1]["train_loss"] == rows[1][-1]["train_loss"]
    assert [run[-1]["step"] for run in rows] == [6, 6]
