"""Every image counts once, and the metrics are what their definitions say."""

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from huggingface_hub import ModelCard, parse_eval_result_entries
from huggingface_hub.utils import validate_repo_id
from shared import TINY, as_if_trained, run_ranks, write_shards

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.commands.evaluation_data import class_map_of
from modeling_resnet50.data.loader import DeviceLoader, ImageBatches
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.sampling import EvaluationSampler
from modeling_resnet50.data.sources import load_evaluation_split, load_train_and_validation
from modeling_resnet50.data.streaming import StreamedEvaluationSampler, StreamedImageBatches, open_streamed_split
from modeling_resnet50.data.transforms import EvaluationTransform
from modeling_resnet50.evaluation.evaluate import evaluate_model, predict
from modeling_resnet50.evaluation.results import to_json
from modeling_resnet50.hub.eval_results import write_eval_results
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe


MEAN_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def model_folder(tmp_path):
    names = ["ant", "bee", "cat"]
    config = ResNet50Config(**TINY, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    folder = tmp_path / "model"
    as_if_trained(ResNet50ForImageClassification(config)).save_pretrained(folder)
    image_processor(Preprocessing.by_ratio(16, 0.875, "bilinear", *MEAN_STD)).save_pretrained(folder)
    return folder


def loader_for(image_folder, batch_size):
    split = load_evaluation_split(str(image_folder))
    batches = ImageBatches(split, EvaluationTransform(Preprocessing(18, 16, "bilinear")))
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


class Rank:
    """What evaluation needs of an accelerator, for ranks that are threads of one process."""

    def __init__(self, index: int, num_processes: int, slots: list, barrier: threading.Barrier):
        self.process_index, self.num_processes, self.slots, self.barrier = index, num_processes, slots, barrier
        self.device, self.autocast, self.unwrap_model = torch.device("cpu"), nullcontext, lambda model: model

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        self.slots[self.process_index] = values
        self.barrier.wait(60)
        shapes = {(tuple(part.shape), part.dtype) for part in self.slots}
        gathered = torch.cat(self.slots)
        self.barrier.wait(60)
        assert len(shapes) == 1, "NCCL and gloo would hang, or mix up the numbers"
        return gathered


def on_ranks(num_processes, function):
    """`function(rank)` on each of them at once, in their order."""
    slots, barrier = [None] * num_processes, threading.Barrier(num_processes)

    def call(index):
        try:
            return function(Rank(index, num_processes, slots, barrier))
        except BaseException:
            barrier.abort()  # the others would wait for it
            raise

    with ThreadPoolExecutor(num_processes) as threads:
        return list(threads.map(call, range(num_processes)))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("num_labels", [3, 10])
def test_processes_without_an_image_of_their_own_agree_with_one_process(image_folder, tmp_path, streamed, num_labels):
    folder = write_shards(image_folder, tmp_path / "shards") if streamed else image_folder
    split = open_streamed_split(str(folder), ["val"]) if streamed else load_evaluation_split(str(folder))
    torch.manual_seed(0)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, num_labels=num_labels)))
    names = [str(label) for label in range(num_labels)]
    (whole,) = loader_for(image_folder, 15)
    with torch.no_grad():
        logits = model(whole["pixel_values"]).logits
    losses = torch.nn.functional.cross_entropy(logits, whole["labels"], reduction="none")
    hits = logits.argsort(descending=True) == whole["labels"][:, None]

    def judge(rank):
        share = {"process_index": rank.process_index, "num_processes": rank.num_processes}
        if streamed:
            batches = StreamedImageBatches(split, EvaluationTransform(Preprocessing(18, 16, "bilinear")))
            sampler = StreamedEvaluationSampler(split.row_group_sizes, 4, num_workers=0, **share)
        else:
            batches = ImageBatches(split, EvaluationTransform(Preprocessing(18, 16, "bilinear")))
            sampler = EvaluationSampler(len(split), 4, **share)
        loader = DeviceLoader(batches, sampler, rank.device, *MEAN_STD)
        return evaluate_model(model, loader, rank), predict(model, loader, rank, names).logits

    for num_processes in (15, 17):
        for result, predicted in on_ranks(num_processes, judge):
            assert result["val_loss"] == pytest.approx(losses.mean().item(), rel=1e-6)
            assert result["val_top1"] == pytest.approx(hits[:, 0].float().mean().item())
            assert result["val_top5"] == pytest.approx(hits[:, :5].any(1).float().mean().item())
            np.testing.assert_allclose(predicted, logits, rtol=1e-4, atol=1e-5)


def test_evaluation_leaves_a_training_model_training(image_folder, tiny_config):
    model = ResNet50ForImageClassification(tiny_config).train()
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    evaluate_model(model, loader_for(image_folder, 4), Accelerator(cpu=True))
    assert model.training
    assert all(torch.equal(value, buffers[name]) for name, value in model.named_buffers())


@pytest.mark.parametrize("flip", [False, True])
def test_predictions_are_in_the_order_of_the_split_with_the_models_classes(image_folder, tiny_config, flip):
    model = as_if_trained(ResNet50ForImageClassification(tiny_config))
    (whole,) = loader_for(image_folder, 15)
    pixel_values = whole["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values).logits
        if flip:
            logits = (logits + model(pixel_values.flip(-1)).logits) / 2
    loader = loader_for(image_folder, 4)
    loader.sampler.indices = list(reversed(loader.sampler.indices))
    seen = []
    said = predict(
        model, loader, Accelerator(cpu=True), ["x", "y", "z"], torch.tensor([2, 0, 1]), flip, on_batch=seen.append
    )
    torch.testing.assert_close(torch.from_numpy(said.logits), logits)
    assert said.labels.tolist() == [2] * 5 + [0] * 5 + [1] * 5
    assert said.label_names == ["x", "y", "z"]
    assert seen == [4, 4, 4, 3]


def test_an_image_that_is_met_twice_is_noticed(image_folder, tiny_config):
    loader = loader_for(image_folder, 4)
    loader.sampler.indices = [0, 1, 1]
    with pytest.raises(AssertionError, match="an image was met twice"):
        predict(ResNet50ForImageClassification(tiny_config), loader, Accelerator(cpu=True), ["x", "y", "z"])


def test_bf16_gives_nearly_the_same_logits_in_float32(image_folder, tiny_config):
    model = as_if_trained(ResNet50ForImageClassification(tiny_config))
    full = predict(model, loader_for(image_folder, 4), Accelerator(cpu=True), ["x", "y", "z"]).logits
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    half = predict(model, loader_for(image_folder, 4), accelerator, ["x", "y", "z"]).logits
    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 0.05 * np.abs(full).max()


TWO_RANKS = """
import sys, json
from accelerate import Accelerator
from modeling_resnet50.commands import evaluate
from resnet50_cli import main
evaluate._write_pages = lambda *_: None
Accelerator.end_training = lambda self: None  # goes on with the same processes
for arguments in json.loads(sys.argv[1]):
    main(arguments)
"""


def test_two_ranks_count_every_image_once(model_folder, image_folder, shards, tmp_path, without_pages, capsys):
    """15 in batches of 4, ragged on both ranks; a single one, which leaves a rank without; streamed ones."""
    one_image = load_evaluation_split(str(image_folder)).select([7])
    (tmp_path / "one").mkdir()
    write_parquet(one_image, tmp_path / "one" / "validation.parquet")
    commands = []
    for name, more in (("15", [image_folder]), ("1", [tmp_path / "one"]), ("streamed", [shards, "--streaming"])):
        arguments = ["evaluate", str(model_folder), "--num_workers", "0", "--batch_size", "4", "--dataset"]
        commands.append([*arguments, *map(str, more), "--output", name])
    for *arguments, name in commands:
        main([*arguments, str(tmp_path / "1 rank" / name)])
    (tmp_path / "script.py").write_text(TWO_RANKS)
    commands = [[*arguments, str(tmp_path / "2 ranks" / name)] for *arguments, name in commands]
    two = run_ranks([str(tmp_path / "script.py"), json.dumps(commands)])
    assert two.returncode == 0, two.stderr
    for name, images in (("15", 15), ("1", 1), ("streamed", 15)):
        one, two = (json.loads((tmp_path / ranks / name / "results.json").read_text()) for ranks in RANKS)
        assert (one["processes"], two["processes"]) == (1, 2)
        (one,), (two,) = one["models"].values(), two["models"].values()
        assert one["images"] == two["images"] == images
        for key in ("top1", "top5", "loss", "ece", "temperature", "classes", "confusions"):
            assert one[key] == approximately(two[key]), key


RANKS = ("1 rank", "2 ranks")


def approximately(value):
    """pytest's `approx`, of tables too."""
    if isinstance(value, list):
        return [approximately(row) for row in value]
    if isinstance(value, dict):
        return {name: approximately(item) for name, item in value.items()}
    return pytest.approx(value, rel=1e-5) if isinstance(value, int | float) else value


def write_parquet(dataset, path):
    """With the images' bytes in it."""
    table = datasets.table.embed_table_storage(dataset.cast_column("image", datasets.Image()).data.table)
    datasets.Dataset(table, info=dataset.info).to_parquet(path)


@pytest.fixture
def shards(image_folder, tmp_path):
    """The validation images in two files, of 9 and of 6."""
    folder = tmp_path / "shards"
    folder.mkdir()
    split = load_evaluation_split(str(image_folder))
    for number, rows in enumerate((range(9), range(9, 15))):
        write_parquet(split.select(rows), folder / f"validation-{number:05d}-of-00002.parquet")
    return folder


def test_streamed_images_give_the_numbers_of_those_on_disk(model_folder, image_folder, shards, capsys):
    found = []
    for source in ([image_folder], [shards], [shards, "--streaming"]):
        arguments = ["--dataset", *map(str, source), "--num_workers", "0", "--batch_size", "4", "--json"]
        main(["evaluate", str(model_folder), *arguments])
        found.append(json.loads(capsys.readouterr().out))
    for row in found[1:]:
        for name in ("top1", "top5", "loss", "ece", "temperature"):
            assert row[name] == pytest.approx(found[0][name])


def test_command_prints_the_numbers_and_the_protocol(model_folder, image_folder, capsys):
    main(["evaluate", str(model_folder), "--dataset", str(image_folder), "--num_workers", "0"])
    shown = capsys.readouterr().out
    first = shown.splitlines()[0]
    assert re.fullmatch(r"top-1 \d+%   loss [\d.]+   \(15 images, 18 → 16 pixels, bilinear, as timm\)", first)
    for words in ("95 % intervals: top-1 ", "calibration error ", "images/s", "worst classes", "most often mistaken"):
        assert words in shown


def test_options_change_protocol_precision_and_mirror_images(
    model_folder, image_folder, tmp_path, without_pages, monkeypatch
):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))  # takes a minute
    given = ["--image_size", "24", "--crop_ratio", "1.0", "--interpolation", "bicubic", "--flip", "--torch_compile"]
    given += ["--exif_orientation", "ignore"]
    arguments = ["--dataset", str(image_folder), "--num_workers", "0", "--mixed_precision", "bf16"]
    main(["evaluate", str(model_folder), *arguments, *given, "--output", str(tmp_path / "out")])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    (model,) = results["models"].values()
    sizes = {"resize_size": 24, "image_size": 24, "interpolation": "bicubic", "crop_mode": "center"}
    assert model["protocol"] == {
        **sizes, "exif_orientation": "ignore", "flip": True, "dtype": "float32", "library": "timm",
    }  # fmt: skip
    assert results["precision"] == "bf16"
    assert len(compiled) == 1


def test_several_models_are_laid_side_by_side_and_compared(
    model_folder, image_folder, tmp_path, without_pages, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    other = Path("other")
    torch.manual_seed(5)
    model = ResNet50ForImageClassification.from_pretrained(model_folder)
    torch.nn.init.normal_(model.fc.weight)
    save_model_and_processor(other, model, image_processor(Preprocessing.by_ratio(16, 0.5, "bicubic", *MEAN_STD)))
    out = tmp_path / "out"
    arguments = ["--dataset", str(image_folder), "--num_workers", "0", "--output", str(out)]
    main(["evaluate", "model", "other", *arguments, "--metrics", "topk_accuracy"])
    shown = capsys.readouterr().out
    assert "18 → 16 pixels, bilinear" in shown
    assert "32 → 16 pixels, bicubic" in shown
    results = json.loads((out / "results.json").read_text())
    one, two = (results["models"][name] for name in ("model", "other"))
    (comparison,) = results["comparisons"]
    assert comparison["top1_difference"]["value"] == pytest.approx(two["top1"]["value"] - one["top1"]["value"])
    assert comparison["only_second"] - comparison["only_first"] == round(15 * comparison["top1_difference"]["value"])
    assert one["metrics"]["topk_accuracy"]["top1"] == pytest.approx(one["top1"]["value"])
    assert {result["num_labels"] for result in results["models"].values()} == {3}
    indices = list(out.glob("*/model-index.yaml"))
    assert len(indices) == 2
    for index in indices:
        (result,) = ModelCard(f"---\n{index.read_text()}---\n").data.eval_results
        assert (result.dataset_type, result.dataset_name) == ("imagefolder", image_folder.name)
        assert (result.metric_name, result.metric_value) != ("top-5 accuracy", 1.0)


@pytest.mark.parametrize(
    ("label_names", "data_names", "expected", "note"),
    [
        (["a", "b", "c"], ["c", "a"], [2, 0], ""),
        (["crane", "b", "crane"], ["b"], [1], ""),
        (["crane", "b", "crane"], ["b", "crane", "x"], [0, 1, 2], "2 of the model's classes are called crane"),
        (["crane", "b", "crane"], ["bird", "b", "machine"], [0, 1, 2], "the data's class names are not the model's"),
        (
            ["crane", "b", "crane", "d"],
            ["d", "crane", "b", "x"],
            [0, 1, 2, 3],
            "2 of the model's classes are called crane",
        ),
        (["crane", "b", "crane"], ["crane", "b"], None, "2 of the model's classes are called crane"),
        (["a\nb", "c", "a\nb"], ["c", "a\nb"], None, "called a\nb"),  # printed with its control characters spelt out
    ],
)
def test_a_name_that_several_classes_have_matches_none_of_them(label_names, data_names, expected, note, capsys):
    if expected is None:
        with pytest.raises(UserError, match=re.escape(note)):
            class_map_of(label_names, data_names)
        return
    class_map, names = class_map_of(label_names, data_names)
    assert class_map.tolist() == expected
    assert names == (data_names if note else label_names)
    said = capsys.readouterr().err
    assert note in said
    assert ("classes are matched by position" in said) == bool(note)


def test_of_a_model_with_two_cranes_evaluate_judges_each_by_its_place(image_folder, tmp_path, capsys):
    """As torchvision's own list of ImageNet's classes has them."""
    results = {}
    for name, labels in {"cranes": ["ant", "bee", "ant"], "apart": ["ant", "bee", "cat"]}.items():
        torch.manual_seed(3)
        model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, id2label=dict(enumerate(labels)))))
        save_model_and_processor(
            tmp_path / name, model, image_processor(Preprocessing.by_ratio(16, 0.5, "bilinear", *MEAN_STD))
        )
        main(["evaluate", str(tmp_path / name), "--dataset", str(image_folder), "--num_workers", "0", "--json"])
        results[name] = json.loads(capsys.readouterr().out)["loss"]
    assert results["cranes"] == results["apart"]


def test_on_a_terminal_names_stay_on_their_line(image_folder, tmp_path, capsys):
    labels = ["a\nb", "\x1b[31mred", "größe 👩\u200d🔬"]
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, id2label=dict(enumerate(labels)))))
    save_model_and_processor(
        tmp_path / "model", model, image_processor(Preprocessing.by_ratio(16, 0.5, "bilinear", *MEAN_STD))
    )
    main(["predict", str(tmp_path / "model"), str(image_folder / "val" / "ant" / "0.jpg")])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("%  ")[1] for line in lines[1:]} == {r"a\nb", r"\x1b[31mred", "größe 👩\u200d🔬"}
    for old, new in zip(("ant", "bee", "cat"), [*labels[:2], "c"]):
        for split in ("train", "val"):
            (image_folder / split / old).rename(image_folder / split / new)
    main(["evaluate", str(tmp_path / "model"), "--dataset", str(image_folder), "--num_workers", "0"])
    shown = capsys.readouterr().out
    assert r"a\nb" in shown
    assert r"\x1b[31mred" in shown


def eval_results_of(folder, name, num_labels=1000, config=None):
    """What huggingface_hub's own reader finds in the file, and the files."""
    result = {
        "images": 50000,
        "num_labels": num_labels,
        "top1": {"value": 0.7615},
        "top5": {"value": 0.9287},
        "protocol": {
            "resize_size": 256,
            "image_size": 224,
            "interpolation": "bilinear",
            "flip": False,
            "dtype": None,
            "library": "timm",
        },
    }
    files = write_eval_results(
        folder, "someone's: model", {"name": name, "config": config, "split": "validation"}, result
    )
    card = ModelCard(f"---\n{files[0].read_text()}---\n# A card\n")
    assert card.data.model_name == "someone's: model"
    return card.data.eval_results, files


def test_results_are_ready_for_the_hub(tmp_path):
    results, (_, entries) = eval_results_of(tmp_path, "ILSVRC/imagenet-1k")
    assert [r.metric_value for r in results] == [0.7615, 0.9287]
    assert {(r.dataset_type, r.dataset_name) for r in results} == {("ILSVRC/imagenet-1k", "ILSVRC/imagenet-1k")}
    assert entries == tmp_path / ".eval_results" / "ILSVRC--imagenet-1k.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(entries.read_text()))
    assert (entry.dataset_id, entry.value) == ("ILSVRC/imagenet-1k", 76.15)
    assert "256 → 224 pixels, bilinear, as timm; 50,000 images of validation" in entry.notes


@pytest.mark.parametrize(
    "name", ["{}/my photos/of birds", "{}/my photos/../my photos/of birds/", "my photos/of birds"]
)
def test_a_folder_has_no_place_among_the_hubs_results_and_its_path_is_nobodys_business(tmp_path, monkeypatch, name):
    (tmp_path / "my photos" / "of birds").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    results, files = eval_results_of(tmp_path, name.format(tmp_path))
    assert {(r.dataset_type, r.dataset_name) for r in results} == {("imagefolder", "of birds")}
    assert [file.name for file in files] == ["model-index.yaml"]
    assert str(tmp_path) not in files[0].read_text()


@pytest.mark.parametrize("name", ["ILSVRC/imagenet-1k", "mnist", "digits", "/data/a b", "data/x/y", ".", "/", "~/ü"])
def test_the_type_of_a_data_set_is_an_id(tmp_path, name):
    results, _ = eval_results_of(tmp_path, name)
    for result in results:
        validate_repo_id(result.dataset_type)
        assert result.dataset_type == (name if name in ("ILSVRC/imagenet-1k", "mnist", "digits") else "imagefolder")
        assert result.dataset_name
        assert "/" not in result.dataset_name or name == "ILSVRC/imagenet-1k"


@pytest.mark.parametrize(("num_labels", "metrics"), [(3, 1), (5, 1), (6, 2)])
def test_top5_is_a_result_only_where_it_could_be_wrong(tmp_path, num_labels, metrics):
    results, _ = eval_results_of(tmp_path, "someone/photographs", num_labels)
    assert [r.metric_name for r in results] == ["top-1 accuracy", "top-5 accuracy"][:metrics]


def test_json_has_null_for_numbers_that_do_not_exist():
    assert to_json({"a": [float("nan"), {"b": float("inf")}], "c": "NaN"}) == '{"a": [null, {"b": null}], "c": "NaN"}'


def bad_parquet(path, labels, names=("ant", "bee", "cat")):
    """Labels as they are, whatever the names."""
    image = {"bytes": b"", "path": None}
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("int64")})
    table = datasets.Dataset.from_dict({"image": [image] * len(labels), "label": labels}, features=features).data.table
    features["label"] = datasets.ClassLabel(names=list(names))
    metadata = {"huggingface": json.dumps({"info": {"features": features.to_dict()}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "digits"], "the data has 10 classes (0, …), the model 3 (ant, …)"),
        (["--dataset", "./nowhere"], "dataset_name ./nowhere: no such folder"),
        (["--dataset", "range.parquet"], "row 1 has label 7, but there are 3 classes, counted from 0"),
        (["--dataset", "unlabelled.parquet"], "2 images have no label"),
        (["--dataset", "nulls.parquet"], "1 image has no label"),
        (["--dataset", "empty.parquet"], "a parquet file without rows"),
        (["--dataset", "images.parquet"], "0 label columns among image: name one with --label_column_name"),
        (["--dataset", "digits", "--split", "tset"], "digits has no split 'tset'; it has: train, validation"),
        (["--dataset", "digits", "--metrics", "top5"], "unknown metric 'top5'"),
        (["--dataset", "digits", "--batch_size", "0"], "--batch_size must be at least 1"),
        (["--dataset", "digits", "--streaming"], "there is nothing to stream"),
        (["--dataset", "digits", "--mixed_precision", "fp16"], "fp16 needs a GPU"),
        (["./no_model", "--dataset", "digits"], "cannot load the model ./no_model"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_bad_input_is_one_line_and_exit_code_2(model_folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    bad_parquet("range.parquet", [0, 7, 2])
    bad_parquet("unlabelled.parquet", [-1, -1])
    bad_parquet("nulls.parquet", [0, None])
    bad_parquet("empty.parquet", [])
    pq.write_table(pq.read_table("range.parquet").select(["image"]).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})}
    ), "images.parquet")  # fmt: skip
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(model_folder), *arguments])
    assert exit_.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_a_model_that_gives_no_numbers_is_told_so(model_folder, image_folder, capsys):
    model = ResNet50ForImageClassification.from_pretrained(model_folder)
    torch.nn.init.constant_(model.fc.bias, float("nan"))
    model.save_pretrained(model_folder)
    with pytest.raises(SystemExit):
        main(["evaluate", str(model_folder), "--dataset", str(image_folder), "--num_workers", "0"])
    assert "gives numbers that are not finite" in capsys.readouterr().err


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
    image_processor(Preprocessing.by_ratio(16, 0.875, "bilinear", *MEAN_STD)).save_pretrained(tmp_path / "swapped")
    results = []
    for folder in (model_folder, tmp_path / "swapped"):
        main(["evaluate", str(folder), "--dataset", str(image_folder), "--num_workers", "0", "--json"])
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["loss"] == pytest.approx(results[1]["loss"])
    assert results[0]["top1"] == results[1]["top1"]


def test_what_training_held_out_judges_where_its_share_and_seed_are_given(
    image_folder, model_folder, without_pages, capsys
):
    source = str(image_folder / "train")
    recipe = Recipe(dataset_name=source, train_val_split=0.4, seed=7, total_train_batch_size=1)
    _, validation = load_train_and_validation(recipe)
    judged = load_evaluation_split(source, train_val_split=(0.4, 7))
    assert judged["image"][:] == validation["image"][:]
    assert judged["label"][:] == validation["label"][:]
    arguments = ["evaluate", str(model_folder), "--dataset", source, "--num_workers", "0", "--json"]
    output = model_folder.parent / "evaluation"
    main([*arguments, "--train_val_split", "0.4", "--seed", "7", "--output", str(output)])
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == len(validation) == 10
    assert "has no validation split" not in captured.err
    assert (
        json.loads((output / "results.json").read_text())["dataset"]["split"] == "0.4 of train, held out with seed 7"
    )
    main(arguments)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == 24
    assert f"note: {source} has no validation split: judged by all its images." in captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train_val_split", "1.5"], "train_val_split must be between 0 and 1, got 1.5"),
        (["--train_val_split", "0.1", "--streaming"], "train_val_split cannot hold out a part of a stream"),
    ],
)
def test_a_share_that_cannot_be_is_an_error(options, message, image_folder, model_folder, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(model_folder), "--dataset", str(image_folder), *options])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
