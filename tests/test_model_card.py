"""The card of a model: true, complete, well-formed for the Hub, and safe against the names that are put into it."""

import json
import math
import os
import re
import shlex
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from hub_server import HubServer
from huggingface_hub import ModelCard, ModelCardData, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id
from markdown_it import MarkdownIt
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file
from shared import PROJECT, TINY, as_if_trained, run_python, tiny_arguments
from timm.data import ImageNetInfo
from transformers.pipelines import PIPELINE_REGISTRY

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.class_names import imagenet_words
from modeling_resnet50.evaluation.statistics import accuracy_interval
from modeling_resnet50.hub.footprint import estimate_footprint
from modeling_resnet50.hub.markdown import one_line
from modeling_resnet50.hub.model_card import card_text, eval_results
from modeling_resnet50.hub.model_folder import renew_card, save_model
from modeling_resnet50.training import metrics
from modeling_resnet50.training.curves import draw_training_curves
from modeling_resnet50.training.environment import _git_commit, describe_environment
from modeling_resnet50.training.trained_model import TrainedModel
from resnet50_cli import main
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.weights import Weights


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def session(**changes) -> dict:
    """What a start of a run on a GPU notes."""
    return {
        "first_epoch": 1, "started": "2026-01-02T03:04:05+00:00", "device_type": "cuda",
        "devices": {"NVIDIA A100-SXM4-80GB": 8}, "cpu": "AMD EPYC 7763", "cpu_cores": 64, "num_processes": 8,
        "num_machines": 1, "mixed_precision": "fp16", "python": "3.11.9",
        "libraries": {"modeling-resnet50": "0.1.0", "torch": "2.11.0"}, "git": {"commit": COMMIT, "dirty": False},
        "num_train_images": 1437, "num_validation_images": 360, **changes,
    }  # fmt: skip


def history(*top1: float, average: bool = False) -> list[dict]:
    """Rows of metrics.jsonl, an hour an epoch."""
    rows = []
    for epoch, value in enumerate(top1, 1):
        validated = {"val_loss": 2 - value, "val_top1": value, "val_top5": (1 + value) / 2}
        averaged = {f"average_{name}": number + 0.01 for name, number in validated.items()} if average else {}
        rows.append({
            "epoch": epoch, "step": 44 * epoch, "train_loss": 2 / epoch, "train_top1": value - 0.1,
            "images_per_second": 1000.0 * epoch, "bad_images": 0, **validated, **averaged,
            "learning_rate": 0.1 / epoch, "skipped_steps": 0, "left_out_steps": 0, "seconds": 3600.0 * epoch,
        })  # fmt: skip
    return rows


def tiny_model(names: list[str], **fields) -> ResNet50ForImageClassification:
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    return ResNet50ForImageClassification(ResNet50Config(**{**TINY, **fields}, **labels))


def of_epoch(epoch: int, recipe: TrainingArguments, rows: list[dict], sessions: list[dict]) -> TrainedModel:
    return TrainedModel(recipe, rows, sessions, Weights(epoch))


DIGITS = [str(digit) for digit in range(10)]
RECIPE = TrainingArguments(
    dataset_name="digits", image_size=64, eval_crop_ratio=1.0, num_train_epochs=3, warmup_epochs=1.0
)


def model_card(*arguments) -> ModelCard:
    """As huggingface_hub reads it, which would write it alike."""
    text = card_text(*arguments)
    card = ModelCard(text)
    assert str(card) == text
    return card


def code_of(card: ModelCard) -> dict[str, list[str]]:
    """The blocks of code under each heading."""
    sections = re.split(r"^###? (.+)$", card.text, flags=re.MULTILINE)
    blocks = {
        heading: re.findall(r"^```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
        for heading, text in zip(sections[1::2], sections[2::2])
    }
    return {heading: found for heading, found in blocks.items() if found}


def test_a_model_has_the_name_of_its_data_in_plain_letters(tiny_config):
    recipe = TrainingArguments(**{**vars(RECIPE), "dataset_name": "my/Ausflug März_2"})
    card = model_card(ResNet50ForImageClassification(tiny_config), of_epoch(1, recipe, history(0.5), [session()]))
    assert "\n# resnet50-my-ausflug-marz-2\n" in card.text


# How to use it


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """
    The full ResNet-50 as a run saves it, `here` without a repository's name and `hub` with one; a small one, `small`;
    and a picture.
    """
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("card")
    labels = {"id2label": dict(enumerate(DIGITS)), "label2id": {name: int(name) for name in DIGITS}}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**labels)))
    rows, sessions = history(0.5, 0.9, 0.8), [session()]
    models = {"here": model, "hub": model, "small": as_if_trained(tiny_model(DIGITS))}
    for name, one in models.items():
        recipe = TrainingArguments(**{**vars(RECIPE), "hub_model_id": "someone/resnet50" if name == "hub" else None})
        (root / name).mkdir()
        save_model(root / name, one, of_epoch(2, recipe, rows, sessions))
    noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(root / "image.jpg", quality=95)  # of the model's size: nobody has to resize
    return root, model


@pytest.mark.parametrize(
    ("folder", "uses"),
    [
        ("here", ["transformers", "A pipeline", "timm", "torchvision"]),
        ("small", ["transformers", "ONNX Runtime"]),  # of the full one, that export takes long
    ],
)
def test_every_snippet_runs_on_the_folder_and_gives_the_same_logits(folder, uses, saved, tmp_path, monkeypatch):
    root, _ = saved
    snippets = code_of(ModelCard.load(root / folder / "README.md"))
    every = ["transformers", "A pipeline", "timm", "torchvision", "ONNX Runtime"]
    assert list(snippets)[:5] == every or folder == "small"
    (tmp_path / "image.jpg").write_bytes((root / "image.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    expected = None
    for use in uses:
        *commands, program = snippets[use]
        for command in "".join(commands).splitlines():
            if command.startswith("resnet50 "):
                main(shlex.split(command.replace("path/to/this/folder", str(root / folder)))[1:])
        names = {}
        exec(program.replace("path/to/this/folder", str(root / folder)), names)
        if use == "A pipeline":
            assert names["answers"][0]["label"] == str(expected.argmax().item())
            continue
        logits = torch.as_tensor(names["logits"])
        expected = logits if expected is None else expected
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3, msg=lambda m, use=use: f"{use}: {m}")


def test_snippets_with_the_repositorys_name_run_in_a_process_that_never_imported_the_package(saved, tmp_path):
    root, _ = saved
    snippets = code_of(ModelCard.load(root / "hub" / "README.md"))
    assert "resnet50 export someone/resnet50 exported" in snippets["ONNX Runtime"][0]
    programs = [snippets[use][0] for use in ("transformers", "A pipeline", "timm", "torchvision")]
    program = "\n".join(["import os", f"os.chdir({str(root)!r})", *programs, "import sys"])
    program += "\nassert 'modeling_resnet50' not in sys.modules\nprint('opened')\n"
    with HubServer() as hub:
        hub.add_folder("someone/resnet50", root / "hub")
        result = run_python(["-P", "-c", program], **hub.environment(tmp_path / "hf"), PYTHONPATH=os.devnull)
    assert result.stdout.strip().endswith("opened"), result.stderr


@pytest.mark.parametrize(
    ("fields", "libraries"),
    [
        ({"stem_type": "cifar"}, set()),
        ({"blur_pool": True, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 32, 64], "embedding_size": 64}, {"timm"}),
    ],
)
def test_only_libraries_that_can_open_the_architecture_are_named(fields, libraries):
    card = model_card(tiny_model(DIGITS, **fields), of_epoch(1, RECIPE, history(0.5), [session()]))
    assert {"timm", "torchvision"} & code_of(card).keys() == libraries
    assert ("timm" in card.data.tags) == ("timm" in libraries)
    assert f"`{next(iter(fields))}={next(iter(fields.values()))}`" in card.text  # how it differs is said


# What it says


def test_intervals_are_wilsons():
    for correct, images in ((38_065, 50_000), (3, 10), (10, 10), (0, 7)):
        share, z = correct / images, 1.959963984540054
        middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
        half = z / (1 + z**2 / images) * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
        assert accuracy_interval(share, images) == pytest.approx((middle - half, middle + half), abs=1e-12)
    card = model_card(tiny_model(DIGITS), of_epoch(1, RECIPE, history(0.9), [session()]))
    assert "| top-1 accuracy | **90%** | 86% – 93% |" in card.text  # 324 of 360


def test_top5_of_five_classes_is_no_result():
    card = model_card(tiny_model(DIGITS[:5]), of_epoch(1, RECIPE, history(0.9), [session()]))
    assert "top-5" not in card.text
    assert [result.metric_name for result in card.data.eval_results] == ["top-1 accuracy"]


def test_what_is_not_a_number_is_no_result(tmp_path):
    row = {**history(0.9)[0], "val_top1": math.nan, "val_top5": math.nan, "val_loss": math.nan}
    recipe = TrainingArguments(dataset_name="someone/photographs")
    model_card(tiny_model(DIGITS), of_epoch(1, recipe, [row], [session()])).save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    assert "accuracy |" not in card.text
    assert "| cross-entropy | nan | |" in card.text
    assert "model-index" not in front_matter(card.content)
    assert eval_results(of_epoch(1, recipe, [row], [session()])) == {}


def test_a_choice_by_the_validation_images_is_confessed():
    rows = history(0.5, 0.9, 0.8)
    texts = {e: model_card(tiny_model(DIGITS), of_epoch(e, RECIPE, rows, [session()])).text for e in (2, 3)}
    assert "chosen among all epochs by this very top-1" in texts[2]
    assert "chosen" not in texts[3]
    assert "the curves go on to epoch 3" in texts[2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ema_decay": 0.999}, "an exponential moving average (EMA, decay 0.999 every step)"),
        ({"ema_decay": 0.9, "ema_every_steps": 32}, "decay 0.9 every 32 steps"),
        ({"swa_start_epoch": 2, "batch_norm_recalibration_steps": 1}, "after each epoch from 2 on (SWA)"),
    ],
)
def test_averaged_weights_are_called_so(fields, words):
    recipe = TrainingArguments(**{**vars(RECIPE), **fields})
    rows = history(0.5, 0.8, average=True)
    plain, averaged = (
        model_card(tiny_model(DIGITS), TrainedModel(recipe, rows, [session()], Weights(2, averaged)))
        for averaged in (False, True)
    )
    assert words in averaged.text
    assert words not in plain.text
    assert "**81%**" in averaged.text
    assert "**80%**" in plain.text


def test_what_differs_from_the_imagenet_recipe_is_listed_and_nothing_else():
    assert parse_recipe(["--config", str(PROJECT / "recipes" / "imagenet1k.yaml")]).changes_since({}) == []
    card = model_card(tiny_model(DIGITS), of_epoch(1, RECIPE, history(0.5), [session()]))
    assert code_of(card)["Training"][0].splitlines() == [
        "dataset_name: ILSVRC/imagenet-1k -> digits", "image_size: 224 -> 64", "eval_crop_ratio: 0.875 -> 1.0",
        "num_train_epochs: 90 -> 3", "warmup_epochs: 5.0 -> 1.0",
    ]  # fmt: skip


def test_energy_is_power_by_time_by_overhead():
    rows, a100s = history(0.5, 0.6, 0.7), session()
    estimate = estimate_footprint(rows, [a100s])
    assert estimate.energy == pytest.approx(3 * 8 * 0.4 * 1.56)  # hours × devices × kW × PUE
    assert estimate.co2 == pytest.approx(3 * 8 * 0.4 * 1.56 * 0.473)
    one_h100 = session(first_epoch=3, devices={"NVIDIA H100 80GB HBM3": 1}, num_processes=1)
    assert estimate_footprint(rows, [a100s, one_h100]).energy == pytest.approx((2 * 3.2 + 0.7) * 1.56)
    cpu = session(device_type="cpu", devices={"AMD EPYC 7763": 2}, num_processes=2, cpu_cores=4)
    assert estimate_footprint(rows, [cpu]).energy == pytest.approx(3 * 4 * 0.012 * 1.56)

    card = model_card(tiny_model(DIGITS), of_epoch(3, RECIPE, rows, [a100s, one_h100]))
    assert "about 11.1 kWh" in card.text
    assert card.data.co2_eq_emissions["emissions"] == pytest.approx(1000 * 7.1 * 1.56 * 0.473)
    for words in ("8 × NVIDIA A100-SXM4-80GB", "from epoch 3 on 1 × NVIDIA H100", "400 W", "700 W", "in 2 starts"):
        assert words in card.text
    assert "CPU core (" not in card.text
    assert "12 W for each CPU core (" in model_card(tiny_model(DIGITS), of_epoch(3, RECIPE, rows, [cpu])).text


def test_no_energy_is_guessed_for_an_unknown_device():
    unknown = session(devices={"NVIDIA A100-SXM4-80GB MIG 3g.40gb": 1})
    assert estimate_footprint(history(0.5), [unknown]) is None
    card = model_card(tiny_model(DIGITS), of_epoch(1, RECIPE, history(0.5), [unknown]))
    assert "no estimate" in card.text
    assert "kWh" not in card.text
    assert "co2_eq_emissions" not in card.data


def test_a_run_that_went_on_from_a_checkpoint_alone_does_not_know_what_it_began_on(image_folder, tmp_path, train):
    settings = {"num_train_epochs": 3, "checkpoint_every_epochs": 1}
    train(tiny_arguments(image_folder, tmp_path / "old", **settings))
    checkpoint = tmp_path / "old" / "checkpoints" / "epoch-0002"
    train(tiny_arguments(image_folder, tmp_path / "new", **settings, resume_from_checkpoint=checkpoint))
    card = ModelCard.load(tmp_path / "new" / "final" / "README.md")
    assert "**Hardware:** from epoch 3 on " in card.text
    assert "no estimate" in card.text


@pytest.mark.parametrize(
    ("recipe", "names", "said", "not_said"),
    [
        ({"dataset_name": "ILSVRC/imagenet-1k"}, "imagenet", "non-commercial research", "does not know them"),
        ({"dataset_name": "someone/photographs"}, "digits", "this card does not know them", "ImageNet's terms"),
        ({"dataset_name": "digits"}, "digits", "CC BY 4.0", "ImageNet's terms"),
        (
            {"dataset_name": "someone/photographs", "model_name_or_path": "timm:resnet50.a1_in1k"},
            "digits",
            "have a licence of",
            "does not exist",
        ),
    ],
)
def test_whose_terms_hold_is_said(recipe, names, said, not_said):
    class_names = DIGITS if names == "digits" else imagenet_words(ImageNetInfo().label_names())
    card = model_card(tiny_model(class_names), of_epoch(1, TrainingArguments(**recipe), history(0.5), [session()]))
    assert said in card.text
    assert not_said not in card.text
    assert ("and 990 more" in card.text) == (names == "imagenet")
    assert ("de Vries" in card.text) == (names == "imagenet" or "model_name_or_path" in recipe)
    assert "trained from scratch" in card.text or "timm:resnet50.a1_in1k" in card.text


def test_curves_show_the_metrics_and_mark_the_best_epoch(tmp_path, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    rows = history(0.5, 0.9, 0.8, average=True)
    for name in ("average_val_loss", "average_val_top1"):
        del rows[0][name]  # an average begins late
    draw_training_curves(rows, 2, tmp_path / "curves.png")
    assert Image.open(tmp_path / "curves.png").size == (1200, 780)
    columns = [
        ["train_loss", "val_loss", "average_val_loss"], ["train_top1", "val_top1", "average_val_top1"],
        ["learning_rate"], ["images_per_second"],
    ]  # fmt: skip
    assert len(figures[0].axes) == 4
    for axes, names in zip(figures[0].axes, columns):
        *lines, best = axes.lines
        assert list(best.get_xdata()) == [2, 2]
        for line, name in zip(lines, names, strict=True):
            assert list(line.get_ydata()) == [row[name] for row in rows if name in row]
            assert list(line.get_xdata()) == [row["epoch"] for row in rows if name in row]


def test_a_renewed_card_tells_how_the_run_went_on_and_leaves_the_weights(saved):
    root, model = saved
    folder = root / "here"
    weights = (folder / "model.safetensors").read_bytes()
    renew_card(folder, model, of_epoch(2, RECIPE, history(0.5, 0.9, 0.8, 0.7), [session()]))
    assert len((folder / "training_metrics.jsonl").read_text().splitlines()) == 4
    assert "the curves go on to epoch 4" in (folder / "README.md").read_text()
    assert (folder / "model.safetensors").read_bytes() == weights


def test_the_best_models_card_knows_the_whole_run(image_folder, tmp_path, train, monkeypatch):
    losses = iter([0.5, 0.25, 0.75])
    evaluated = ({"val_loss": loss, "val_top1": 1 - loss, "val_top5": 1.0} for loss in losses)
    monkeypatch.setattr(train.script, "evaluate_model", lambda *_, **__: next(evaluated))
    train(tiny_arguments(image_folder, tmp_path / "run", num_train_epochs=3))
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    for name, loss in (("best", 0.25), ("final", 0.75)):
        assert (tmp_path / "run" / name / "training_metrics.jsonl").read_text() == metrics
        assert f"| cross-entropy | {loss:.4f} | |" in (tmp_path / "run" / name / "README.md").read_text()
    assert "epoch 2 of 3 (the curves go on to epoch 3)" in (tmp_path / "run" / "best" / "README.md").read_text()


# The run's records


def test_the_cards_command_trains_the_very_weights_again_and_the_folder_keeps_what_is_private(
    image_folder, tmp_path, train, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_canary0123456789")
    first, again = tmp_path / "first", tmp_path / "again"
    train(tiny_arguments(image_folder, first, mixup_alpha=0.2, seed=7))
    command = code_of(ModelCard.load(first / "best" / "README.md"))["To train it again"][0].splitlines()[-1]
    assert command.startswith("ACCELERATE_USE_CPU=true python train.py --config path/to/this/folder/recipe.yaml")
    command = command.replace("path/to/this/folder", str(first / "best"))
    command = command.replace("PATH/TO/THE/IMAGES", str(image_folder))
    train([*shlex.split(command)[3:], "--output_dir", str(again)])
    one, other = (load_file(run / "final" / "model.safetensors") for run in (first, again))
    assert all(torch.equal(one[name], other[name]) for name in one)

    for path in [first / "environment.json", *(p for p in first.glob("*/*") if p.is_file())]:
        content = path.read_bytes()
        for private in (str(tmp_path), "hf_canary"):
            assert private.encode() not in content, f"{private} in {path}"


def test_each_start_of_a_run_is_noted_and_its_time_adds_up(image_folder, tmp_path, train):
    arguments = tiny_arguments(image_folder, tmp_path / "run", num_train_epochs=3, checkpoint_every_epochs=1)
    train(arguments)
    checkpoint = tmp_path / "run" / "checkpoints" / "epoch-0002"
    train([*arguments, "--resume_from_checkpoint", str(checkpoint)])
    sessions = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert [s["first_epoch"] for s in sessions] == [1, 3]
    assert (sessions[0]["num_train_images"], sessions[0]["num_validation_images"]) == (24, 15)
    assert sessions[0]["libraries"]["torch"] == torch.__version__.split("+")[0]
    seconds = [json.loads(line)["seconds"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert seconds == sorted(seconds)
    assert seconds[2] > seconds[1] > seconds[0] > 0
    assert "in 2 starts" in (tmp_path / "run" / "final" / "README.md").read_text()


def test_time_within_an_epoch_goes_on_from_the_checkpoint(monkeypatch):
    clock = iter([100.0, 107.0, 500.0, 503.0])
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: next(clock))
    state = metrics.TrainMetrics(Accelerator(cpu=True)).state_dict()
    resumed = metrics.TrainMetrics(Accelerator(cpu=True))
    resumed.load_state_dict([state])
    assert resumed.seconds_of_epoch() == 10


def test_commit_is_that_of_the_repository_and_changes_are_told(tmp_path):
    assert _git_commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert _git_commit(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "train.py").write_text("")
    assert _git_commit(tmp_path) == {"commit": commit, "dirty": True}
    card = model_card(tiny_model(DIGITS), of_epoch(1, RECIPE, history(0.5), [session(git=_git_commit(tmp_path))]))
    assert f"git checkout {commit}" in card.text
    assert "changes that were not committed" in card.text


def test_without_a_repository_the_card_has_no_commit(monkeypatch):
    monkeypatch.setattr("modeling_resnet50.training.environment._git_commit", lambda folder: None)
    environment = {"first_epoch": 1, **describe_environment(Accelerator(cpu=True), 10, 5)}
    card = model_card(tiny_model(DIGITS), of_epoch(1, RECIPE, history(0.5), [environment]))
    assert "git checkout" not in card.text
    assert "it lay in no git repository" in card.text


@pytest.mark.parametrize(
    ("changes", "launched"),
    [
        ({}, "accelerate launch --multi_gpu --num_processes 8 train.py --config"),
        ({"num_processes": 1}, "python train.py --config"),
        ({"device_type": "cpu", "num_processes": 2}, "ACCELERATE_USE_CPU=true accelerate launch --multi_gpu "),
        ({"num_machines": 2, "num_processes": 16}, "--num_machines 2 --machine_rank RANK --main_process_ip ADDRESS"),
    ],
)
def test_command_starts_as_many_processes_as_there_were(changes, launched):
    card = model_card(tiny_model(DIGITS), of_epoch(1, RECIPE, history(0.5), [session(**changes)]))
    command = code_of(card)["To train it again"][0]
    assert f"\n{launched}" in command or f" {launched}" in command
    assert command.strip().endswith("--mixed_precision fp16")


# What the Hub asks of metadata, as far as it can be checked here


class NoDuplicates(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def front_matter(content: str) -> dict:
    _, block, _ = re.split(r"^---$", content, maxsplit=2, flags=re.MULTILINE)
    return yaml.load(block, NoDuplicates)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"dataset_name": "ILSVRC/imagenet-1k", "hub_model_id": "someone/resnet50-imagenet1k"},
        {
            "dataset_name": "someone/photographs",
            "model_name_or_path": "microsoft/resnet-50",
            "dataset_config_name": "a",
        },
        {"dataset_name": "someone/photographs", "model_name_or_path": "timm:resnet50.a1_in1k"},
    ],
)
def test_metadata_keeps_the_hubs_rules(fields, tmp_path):
    recipe = TrainingArguments(**{**vars(RECIPE), **fields})
    card = model_card(tiny_model(DIGITS), of_epoch(2, recipe, history(0.5, 0.9), [session()]))
    card.save(tmp_path / "README.md")
    data = front_matter((tmp_path / "README.md").read_text())
    assert data["library_name"] == "transformers"
    assert data["license"] == "apache-2.0"  # an id of the Hub's list
    assert data["pipeline_tag"] in PIPELINE_REGISTRY.get_supported_tasks()
    assert data["metrics"] == ["accuracy"]
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", tag) for tag in data["tags"])
    assert len(set(data["tags"])) == len(data["tags"])
    for name in data.get("datasets", []):
        validate_repo_id(name)
    assert data.get("datasets") == ([fields["dataset_name"]] if fields else None)
    base_model = {"timm:resnet50.a1_in1k": "timm/resnet50.a1_in1k"}.get(recipe.model_name_or_path)
    assert data.get("base_model") == (base_model or recipe.model_name_or_path)
    assert data.get("base_model_relation") == ("finetune" if recipe.model_name_or_path else None)
    assert isinstance(data["co2_eq_emissions"]["emissions"], float)
    assert all(value not in (None, "", []) for value in data.values())
    assert len((tmp_path / "README.md").read_bytes()) < 100_000

    # model-index: there and back
    name, results = model_index_to_eval_results(data["model-index"])
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.data.eval_results == results == card.data.eval_results
    assert name == loaded.data.model_name
    assert name == (recipe.hub_model_id or "x/" + name).split("/")[1]
    again = ModelCardData(**{**loaded.data.__dict__}).to_dict()
    assert again == data
    assert [(r.metric_type, r.metric_name, r.metric_value) for r in results] == [
        ("accuracy", "top-1 accuracy", 0.9), ("accuracy", "top-5 accuracy", 0.95),
    ]  # fmt: skip
    assert {(r.task_type, r.dataset_type, r.dataset_split) for r in results} == {
        ("image-classification", recipe.dataset_name, "validation")
    }


def test_results_for_leaderboards_are_of_data_sets_on_the_hub_only(image_folder):
    rows = history(0.5, 0.76123456, average=True)
    recipe = TrainingArguments(dataset_name="ILSVRC/imagenet-1k")
    for averaged, value in ((False, 76.1235), (True, 77.1235)):
        trained = TrainedModel(recipe, rows, [session()], Weights(2, averaged))
        ((name, content),) = eval_results(trained).items()
        assert name == ".eval_results/ILSVRC--imagenet-1k.yaml"
        (entry,) = parse_eval_result_entries(yaml.safe_load(content))
        assert (entry.dataset_id, entry.task_id, entry.value) == ("ILSVRC/imagenet-1k", "default", value)
        assert "224 pixels" in entry.notes
    for name in ("digits", str(image_folder)):
        assert eval_results(of_epoch(2, TrainingArguments(dataset_name=name), rows, [session()])) == {}
    part = TrainingArguments(dataset_name="user/photos", max_eval_samples=100)
    assert eval_results(of_epoch(2, part, rows, [session()])) == {}


def test_results_for_leaderboards_lie_where_the_hub_looks(tmp_path):
    recipe = TrainingArguments(dataset_name="someone/photographs", num_train_epochs=1, warmup_epochs=0.0)
    save_model(tmp_path, tiny_model(DIGITS), of_epoch(1, recipe, history(0.5), [session()]))
    (entry,) = parse_eval_result_entries(
        yaml.safe_load((tmp_path / ".eval_results" / "someone--photographs.yaml").read_text())
    )
    assert (entry.dataset_id, entry.value) == ("someone/photographs", 50.0)
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text()) == recipe.public_dict()


# Names that are up to no good


NASTY = [
    "---", "a\n---\nb: c", "key: value", "- a\n- b", '"', "'", "{a: [b", "&a *a !!python/object:os.system",
    "`", "a``b", "``` \n<script>alert(1)</script>\n```", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "<iframe src='https://evil.example'></iframe>", "</code></pre><h1>x", "a | b | c", "\r\n| a |\n| --- |\n",
    "[click](https://evil.example)", "![x](https://evil.example/x.png)", "www.evil.example https://evil.example",
    "\u202egnp.exe", "👩‍🔬 🦄", "a\x00b\x1b[31mc", "{{ 7 * 7 }}{% raw %}", "%s %(name)s {name}", "x" * 5000,
    "\ud800", " ", "\x85a\u2028b\u2029c\ufeff", "~~~\n# heading", "<!-- ", "&lt;b&gt; &amp; &#60;",
    "]]>\\", "C:\\new\\`", "user@evil.example @everyone #1", "$x$ \\(y\\)",
]  # fmt: skip


class Tags(HTMLParser):
    """The structure of a page: its tags and their attributes, but not the text."""

    def __init__(self, html: str):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, attributes))

    def handle_comment(self, data):
        self.found.append(("comment", data))


def tags_of(card: ModelCard) -> list:
    return Tags(MarkdownIt("gfm-like", {"html": True, "linkify": True}).render(card.text)).found


def card_with(name: str) -> ModelCard:
    """A card with that name wherever a name can be."""
    place = place_with(name)
    recipe = TrainingArguments(
        dataset_name=place, dataset_config_name=name, validation_split_name=name, image_column_name=name,
        model_name_or_path=f"/{place}", teacher=f"/{place}",
    )  # fmt: skip
    names = [name, f"{name} too", "ant"]
    return model_card(tiny_model(names), of_epoch(2, recipe, history(0.5, 0.9), [session()]))


def place_with(name: str) -> str:
    """The path of a folder, if there can be one of that name."""
    possible = "\x00" not in name and "\ud800" not in name and len(name) < 255
    return f"not/on/the/hub/{name if possible else 'dogs'}"


def test_markup_would_be_seen_by_this_test():
    assert (
        Tags(MarkdownIt("gfm-like", {"html": True, "linkify": True}).render("www.evil.example <script>")).found != []
    )


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
def test_a_nasty_name_stays_a_name(name, tmp_path):
    card, harmless = card_with(name), card_with("dogs")
    card.save(tmp_path / "README.md")
    content = (tmp_path / "README.md").read_text(encoding="utf-8")
    data, expected = front_matter(content), front_matter(harmless.content)
    results, expected_results = (matter["model-index"][0].pop("results") for matter in (data, expected))
    for matter in (data, expected):
        matter.pop("model-index")
    assert data == expected  # the name is nowhere else
    dataset = results[0]["dataset"]
    assert dataset == {
        "name": one_line(Path(place_with(name)).name) or "imagefolder", "type": "imagefolder",
        "split": one_line(name), "config": one_line(name),
    }  # fmt: skip
    assert results[0]["metrics"] == expected_results[0]["metrics"]
    assert tags_of(ModelCard.load(tmp_path / "README.md")) == tags_of(harmless)
    assert re.fullmatch(r"[\w.-]+", card.data.model_name)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", content)


@pytest.mark.parametrize("name", NASTY, ids=range(len(NASTY)))
def test_a_nasty_name_of_a_repository_is_refused(name):
    with pytest.raises(UserError, match="hub_model_id must be user/name"):
        TrainingArguments(**{**vars(RECIPE), "hub_model_id": name})
