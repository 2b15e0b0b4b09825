"""Every image counts once, and the metrics are what their definitions say."""

import json
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import TINY, run_python
from sklearn.metrics import log_loss, top_k_accuracy_score

import modeling_resnet50.evaluation.metrics
from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.cli import main
from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
from modeling_resnet50.data.sampling import EvaluationSampler
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.data.transforms import evaluation_transform
from modeling_resnet50.evaluation.evaluate import evaluate_model
from modeling_resnet50.hub.model_folder import image_processor


METRICS = Path(modeling_resnet50.evaluation.metrics.__file__).parent
MEAN_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def model_folder(tmp_path):
    names = ["ant", "bee", "cat"]
    config = ResNet50Config(**TINY, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    folder = tmp_path / "model"
    ResNet50ForImageClassification(config).save_pretrained(folder)
    image_processor(16, 0.875, "bilinear", *MEAN_STD).save_pretrained(folder)
    return folder


def test_topk_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 10)), rng.integers(0, 10, 200)
    metric = evaluate.load(str(METRICS / "topk_accuracy"), keep_in_memory=True)
    top = np.argsort(-scores, axis=1)[:, :5]
    for start in range(0, 200, 64):
        metric.add_batch(predictions=top[start : start + 64], references=labels[start : start + 64])
    result = metric.compute()
    for k in (1, 5):
        assert result[f"top{k}"] == pytest.approx(top_k_accuracy_score(labels, scores, k=k, labels=range(10)))


def test_cross_entropy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = torch.tensor(rng.normal(size=(50, 4))), rng.integers(0, 4, 50)
    log_probabilities = scores.log_softmax(-1).numpy()
    metric = evaluate.load(str(METRICS / "cross_entropy"), keep_in_memory=True)
    result = metric.compute(log_probabilities=log_probabilities[np.arange(50), labels], references=labels)
    assert result["loss"] == pytest.approx(log_loss(labels, np.exp(log_probabilities), labels=range(4)))


def loader_for(image_folder, batch_size):
    split = load_evaluation_split(str(image_folder))
    batches = ImageBatches(split, evaluation_transform(18, 16, "bilinear"))
    return DeviceLoader(batches, EvaluationSampler(len(split), batch_size), torch.device("cpu"), *MEAN_STD)


@pytest.mark.parametrize("batch_size", [1, 4, 15, 64])
def test_result_is_the_mean_over_images_whatever_the_batches(image_folder, tiny_config, batch_size):
    model = ResNet50ForImageClassification(tiny_config)
    result = evaluate_model(model, loader_for(image_folder, batch_size), Accelerator(cpu=True))
    (whole,) = loader_for(image_folder, 15)
    with torch.no_grad():
        logits = model.eval()(whole["pixel_values"]).logits
    assert result["val_top1"] == pytest.approx((logits.argmax(-1) == whole["labels"]).float().mean().item())
    assert result["val_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, whole["labels"]).item())
    assert result["val_top5"] == 1.0  # three classes


def test_evaluation_leaves_a_training_model_training(image_folder, tiny_config):
    model = ResNet50ForImageClassification(tiny_config).train()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    evaluate_model(model, loader_for(image_folder, 4), Accelerator(cpu=True))
    assert model.training
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


def test_two_ranks_count_every_image_once(model_folder, image_folder, capsys):
    arguments = ["evaluate", str(model_folder), "--dataset", str(image_folder), "--json", "--batch_size", "4"]
    main([*arguments, "--num_workers", "0"])
    one = json.loads(capsys.readouterr().out)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "modeling_resnet50.cli"]
    two = run_python([*launcher, *arguments, "--num_workers", "0"], ACCELERATE_USE_CPU="true")
    assert two.returncode == 0, two.stderr
    two = json.loads(two.stdout)
    assert one["images"] == two["images"] == 15  # 8 + 7, in batches of 4: ragged on both ranks
    for name in ("top1", "top5", "loss"):
        assert one[name] == pytest.approx(two[name], rel=1e-6)


def test_command_prints_the_numbers_and_the_protocol(model_folder, image_folder, capsys):
    main(["evaluate", str(model_folder), "--dataset", str(image_folder), "--num_workers", "0"])
    shown = capsys.readouterr().out
    assert "top-1 " in shown
    assert "(15 images, 18 → 16 pixels, bilinear)" in shown


@pytest.mark.parametrize(
    ("model", "dataset", "message"),
    [
        (None, "digits", "the data has 10 classes (0, …), the model 3 (ant, …)"),
        (None, "./nowhere", "dataset_name ./nowhere: no such folder"),
        ("./no_model", "digits", "cannot load the model ./no_model"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(model_folder, capsys, model, dataset, message):
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", model or str(model_folder), "--dataset", dataset])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_classes_are_matched_by_name_where_names_agree(model_folder, image_folder, tmp_path, capsys):
    """The same weights with rows of the classifier swapped, and the names with them, score the same."""
    model = ResNet50ForImageClassification.from_pretrained(model_folder)
    order = [2, 0, 1]
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight[order].clone())
        model.fc.bias.copy_(model.fc.bias[order].clone())
    names = [["ant", "bee", "cat"][index] for index in order]
    model.config.id2label, model.config.label2id = dict(enumerate(names)), {n: i for i, n in enumerate(names)}
    model.save_pretrained(tmp_path / "swapped")
    image_processor(16, 0.875, "bilinear", *MEAN_STD).save_pretrained(tmp_path / "swapped")
    results = []
    for folder in (model_folder, tmp_path / "swapped"):
        main(["evaluate", str(folder), "--dataset", str(image_folder), "--num_workers", "0", "--json"])
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["loss"] == pytest.approx(results[1]["loss"])
    assert results[0]["top1"] == results[1]["top1"]
