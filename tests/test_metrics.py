"""The metrics work as `evaluate` modules do: offline, in parts, over processes, combined, and by its evaluator."""

from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import datasets
import evaluate
import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from shared import TINY, as_if_trained
from sklearn.metrics import log_loss, top_k_accuracy_score
from timm.data import RealLabelsImagenet

import modeling_resnet50.evaluation.metrics
from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sampling import EvaluationSampler
from modeling_resnet50.data.sources import load_evaluation_split
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.evaluation.evaluate import evaluate_model, predict
from modeling_resnet50.evaluation.metric_modules import compute_metric, in_memory, load_metric
from modeling_resnet50.evaluation.metrics.expected_calibration_error.expected_calibration_error import reliability_bins
from modeling_resnet50.evaluation.predictions import Predictions
from modeling_resnet50.evaluation.statistics import log_probabilities, summarize, top_classes
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_recipe.errors import UserError


METRICS = Path(modeling_resnet50.evaluation.metrics.__file__).parent
NAMES = [
    "classification_report", "confusion_matrix", "cross_entropy", "expected_calibration_error", "one_vs_rest_auc",
    "real_accuracy", "topk_accuracy",
]  # fmt: skip
MEAN_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def load(name, **settings):
    return evaluate.load(str(METRICS / name), **(settings or {"keep_in_memory": True}))


@pytest.fixture(scope="module")
def said():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(150, 10)).astype(np.float32), rng.integers(0, 10, 150)
    return Predictions(logits, labels, [str(number) for number in range(10)])


def inputs_of(said):
    log_probability, confidence = log_probabilities(said)
    return {
        "predictions": top_classes(said),
        "references": said.labels,
        "log_probabilities": log_probability,
        "confidences": confidence,
        "prediction_scores": said.logits,
    }


def test_topk_accuracy_equals_scikit_learn(said):
    metric, inputs = load("topk_accuracy"), inputs_of(said)
    for start in range(0, 150, 64):
        metric.add_batch(**{name: inputs[name][start : start + 64] for name in ("predictions", "references")})
    result = metric.compute()
    for k in (1, 5):
        expected = top_k_accuracy_score(said.labels, said.logits, k=k, labels=range(10))
        assert result[f"top{k}"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "name",
    ["classification_report", "confusion_matrix", "expected_calibration_error", "real_accuracy", "topk_accuracy"],
)
def test_scores_are_not_taken_for_classes(name):
    """As Trainer's `compute_metrics` is given them; `evaluate` makes 0 and -1 of 0.9 and -1.2."""
    scores, labels = torch.tensor([[0.9, -1.2], [2.0, 3.0]]), [0, 1]
    others = {"confidences": [0.9, 0.9]} if name == "expected_calibration_error" else {}
    references = [[label] for label in labels] if name == "real_accuracy" else labels
    for predictions in [scores, scores.numpy(), scores.tolist(), scores[:, 0], scores.bfloat16()]:
        with pytest.raises(ValueError, match=r"not scores|match the expected format"):
            load(name).compute(predictions=predictions, references=references, **others)
    metric = load(name)
    for number in range(2):
        right = int(scores[number].argmax())
        metric.add(prediction=right, reference=references[number], **dict.fromkeys(others, 0.9))
    alone = metric.compute()
    assert load(name).compute(predictions=scores.argmax(-1), references=references, **others) == alone


def test_cross_entropy_equals_scikit_learn(said):
    inputs = inputs_of(said)
    result = load("cross_entropy").compute(
        log_probabilities=inputs["log_probabilities"], references=inputs["references"]
    )
    probabilities = np.exp(said.logits.astype(float))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert result["loss"] == pytest.approx(log_loss(said.labels, probabilities, labels=range(10)))


def test_expected_calibration_error_by_hand():
    """Two bins: three images of mean confidence 0.2 of which one is right, and one of 0.9 that is right."""
    given = {"references": [1, 1, 1, 1], "confidences": [0.1, 0.2, 0.3, 0.9]}
    for predictions in ([1, 0, 0, 1], [[1, 0], [0, 1], [0, 1], [1, 0]]):  # with and without the less likely classes
        result = load("expected_calibration_error").compute(predictions=predictions, num_bins=2, **given)
        assert result["ece"] == pytest.approx((3 * abs(0.2 - 1 / 3) + abs(0.9 - 1)) / 4)


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    result = load("expected_calibration_error").compute(
        predictions=[0, 1], references=[0, 0], confidences=[0.5, 0.6], num_bins=2
    )
    assert result["ece"] == pytest.approx((0.5 + 0.6) / 2)  # together they would be |0.55 - 0.5|


@pytest.mark.parametrize("num_bins", [*range(1, 64), 100, 1000])
def test_every_edge_is_in_the_bin_below_and_what_follows_it_is_not(num_bins):
    edges = np.array([float(Fraction(number, num_bins)) for number in range(1, num_bins + 1)])
    in_order = [row["images"] for row in reliability_bins(edges, np.ones(num_bins, bool), num_bins)]
    assert in_order == [1] * num_bins
    above = reliability_bins(np.nextafter(edges[:-1], 1), np.ones(num_bins - 1, bool), num_bins)
    assert [row["images"] for row in above] == [0] + [1] * (num_bins - 1)


def test_no_confidence_is_outside_the_bins():
    rows = reliability_bins(np.array([0.0, 1.0, np.nextafter(1, 2)]), np.ones(3, bool), 29)
    assert [row["images"] for row in rows] == [1, *[0] * 27, 2]


def test_real_accuracy_equals_timms():
    paths = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50001)]
    timms = RealLabelsImagenet(paths)
    real = [timms.real_labels[path] for path in paths]
    assert [] in real  # some images have none
    first, nothing = np.array([(labels or [0])[0] for labels in real]), 999
    predictions = np.where(np.random.default_rng(0).random(50000) < 0.6, first, nothing)  # right about as often
    for part in torch.tensor(predictions).split(5000):
        timms.add_result(torch.zeros(len(part), 1000).scatter_(1, part[:, None], 1))
    result = load("real_accuracy").compute(predictions=predictions, references=real)
    assert 100 * result["real_accuracy"] == pytest.approx(timms.get_accuracy(k=1))
    assert result["images"] == sum(bool(labels) for labels in real)


def test_combined_they_take_one_set_of_inputs_and_give_all_their_numbers(said):
    ours = [load(name) for name in ("topk_accuracy", "cross_entropy", "expected_calibration_error")]
    combined, inputs = evaluate.combine(ours), inputs_of(said)
    for start in range(0, 150, 40):
        combined.add_batch(**{name: values[start : start + 40] for name, values in inputs.items()})
    result, summary = combined.compute(), summarize(said)
    assert set(result) == {"top1", "top5", "loss", "ece"}
    for name in ("top1", "top5", "loss"):
        assert result[name] == pytest.approx(summary[name]["value"])
    assert result["ece"] == pytest.approx(summary["ece"])


def shared_between_two(name, inputs, process_id, cache_dir):
    """What process 0 or 1 of two does, each with every second image."""
    settings = {"num_process": 2, "process_id": process_id, "experiment_id": "shared", "cache_dir": str(cache_dir)}
    metric = load(name, **settings)
    for part in np.array_split(np.arange(process_id, len(inputs["references"]), 2), 3):
        metric.add_batch(**{feature: values[part] for feature, values in inputs.items()})
    return metric.compute()


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("topk_accuracy", ["predictions", "references"]),
        ("classification_report", ["predictions", "references"]),
        ("confusion_matrix", ["predictions", "references"]),
        ("one_vs_rest_auc", ["prediction_scores", "references"]),
        ("cross_entropy", ["log_probabilities", "references"]),
        ("expected_calibration_error", ["predictions", "references", "confidences"]),
    ],
)
def test_two_processes_give_the_number_of_one(name, features, said, tmp_path):
    inputs = {feature: inputs_of(said)[feature] for feature in features}
    with ProcessPoolExecutor(2, get_context("fork")) as processes:
        asked = [processes.submit(shared_between_two, name, inputs, number, tmp_path) for number in range(2)]
        first, second = (process.result(timeout=100) for process in asked)
    alone = load(name).compute(**inputs)
    assert first.keys() == alone.keys()
    for key, value in alone.items():
        np.testing.assert_allclose(first[key], value)
    assert second is None  # only process 0 answers


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_folder_to_push_as_a_metric_space(name):
    folder = METRICS / name
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(front)
    assert {"evaluate", "metric"} <= set(card["tags"])
    assert (card["sdk"], card["app_file"]) == ("gradio", "app.py")
    compile((folder / "app.py").read_text(), "app.py", "exec")
    assert f'with_name("{name}.py")' in (folder / "app.py").read_text()
    assert (folder / "requirements.txt").read_text().startswith("evaluate")
    # The example in the card gives what it says.
    code = text.split("```python\n")[1].split("```")[0].replace(f'"{name}"', f'"{folder}", keep_in_memory=True')
    *lines, last = code.strip().splitlines()
    names = {}
    exec("\n".join(lines), names)
    call, said = last.split("  # ")
    assert eval(call, names) == yaml.safe_load(said)


def test_a_cache_that_cannot_be_written_does_not_end_a_run_at_its_first_validation(tmp_path, monkeypatch):
    (tmp_path / "a file").touch()
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "a file" / "metrics")
    with pytest.raises(OSError, match="a file"):
        modeling_resnet50.evaluation.TopKAccuracy(keep_in_memory=True)
    metric = in_memory(modeling_resnet50.evaluation.TopKAccuracy)
    metric.add_batch(predictions=np.array([[0, 1]]), references=np.array([0]))
    assert metric.compute()["top1"] == 1


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("classification_report", {"predictions": [0.9, 0.2], "references": [1, 0]}),
        ("classification_report", {"predictions": [1, 0], "references": [0.9, 0.2]}),
        ("confusion_matrix", {"predictions": [[0.1, 0.9], [0.8, 0.2]], "references": [1, 0]}),
        ("expected_calibration_error", {"predictions": [0.9], "references": [1], "confidences": [0.9]}),
        ("one_vs_rest_auc", {"prediction_scores": [[0.1, 0.9], [0.8, 0.2]], "references": [0.9, 0.2]}),
        ("real_accuracy", {"predictions": [0.9], "references": [[1]]}),
        ("real_accuracy", {"predictions": [1], "references": [[0.9]]}),
        ("topk_accuracy", {"predictions": [[0.1, 0.9], [0.8, 0.2]], "references": [1, 0]}),
        ("topk_accuracy", {"predictions": [float("nan")], "references": [1]}),
    ],
)
def test_probabilities_in_place_of_classes_are_refused_not_cut_off(name, inputs):
    """`evaluate` makes whole numbers of them where a metric declares such, and 0.9 would be class 0."""
    with pytest.raises(ValueError, match="are class indices, not scores"):
        load(name).compute(**inputs)
    metric = load(name)
    metric.add_batch(**{key: np.array(value) for key, value in inputs.items()})
    with pytest.raises(ValueError, match="are class indices, not scores"):
        metric.compute()


def test_unknown_metric_is_one_line_with_the_nearest_name():
    with pytest.raises(UserError, match=r"unknown metric 'topk_acuracy'; did you mean 'topk_accuracy'\?"):
        load_metric("topk_acuracy")


@pytest.mark.parametrize("name", ["topk_accuracy", "cross_entropy", "expected_calibration_error"])
def test_metrics_by_name_give_the_numbers_of_the_summary(name, said):
    summary = summarize(said)
    for key, value in compute_metric(load_metric(name), said).items():
        expected = summary[key] if isinstance(summary[key], float) else summary[key]["value"]
        assert value == pytest.approx(expected)


def test_a_metric_that_wants_other_inputs_is_one_line(said):
    with pytest.raises(UserError, match="the metric real_accuracy cannot judge classes of images"):
        compute_metric(load_metric("real_accuracy"), said)


def test_evaluates_evaluator_our_loop_and_the_predictions_agree(image_folder, tmp_path):
    """The same folder through transformers' pipeline, the loop of training, and `resnet50 evaluate`'s."""
    names = ["ant", "bee", "cat"]
    label2id = {name: number for number, name in enumerate(names)}
    config = ResNet50Config(**TINY, id2label=dict(enumerate(names)), label2id=label2id)
    model = as_if_trained(ResNet50ForImageClassification(config))
    save_model_and_processor(tmp_path, model, image_processor(Preprocessing.by_ratio(16, 0.5, "bilinear", *MEAN_STD)))
    split = load_evaluation_split(str(image_folder))
    batches = ImageBatches(split, EvaluationTransform(Preprocessing(32, 16, "bilinear")))
    accelerator = Accelerator(cpu=True)
    loader = DeviceLoader(batches, EvaluationSampler(len(split), 4), accelerator.device, *MEAN_STD)
    ours = evaluate_model(model, loader, accelerator)
    summary = summarize(predict(model, loader, accelerator, names))
    for name in ("top1", "top5", "loss"):
        assert ours[f"val_{name}"] == pytest.approx(summary[name]["value"])
    theirs = evaluate.evaluator("image-classification").compute(
        model_or_pipeline=str(tmp_path),
        data=split.cast_column("image", datasets.Image()),
        metric=load("topk_accuracy"),
        label_mapping=label2id,
    )
    assert 0 < theirs["top1"] < 1
    assert theirs["top1"] == pytest.approx(ours["val_top1"])
