"""A recipe is checked, field by field, before anything is done with it."""

import subprocess
import sys
from dataclasses import asdict, field, fields, make_dataclass
from pathlib import Path

import pytest
import yaml
from shared import PROJECT
from transformers import HfArgumentParser

from modeling_resnet50.architecture import model_config
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.recipe_file import load_recipe_file, parse_recipe
from resnet50_recipe.run_options import RunOptions
from resnet50_recipe.training_arguments import TrainingArguments


RECIPES = sorted((PROJECT / "recipes").glob("*.yaml"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_in_the_folder_is_valid(path):
    assert parse_recipe(["--config", str(path)]).output_dir == f"runs/{path.stem}"


def test_imagenet1k_is_the_seeds_configuration():
    recipe = parse_recipe(["--config", str(PROJECT / "recipes" / "imagenet1k.yaml")])
    expected = {
        "total_train_batch_size": 256, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4,
        "warmup_epochs": 5.0, "num_train_epochs": 90, "lr_scheduler_type": "cosine", "mixed_precision": "fp16",
        "image_size": 224, "checkpoint_every_epochs": 10, "random_flip": 0.5,
    }  # fmt: skip
    assert {name: getattr(recipe, name) for name in expected} == expected


def test_command_line_overrides_the_file_and_the_file_the_defaults(tmp_path):
    path = write(tmp_path, "learning_rate: 0.5\nmomentum: 0.8\n")
    recipe = parse_recipe(["--config", str(path), "--learning_rate", "1", "--random_crop_scale", "0.5", "1"])
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (1.0, 0.8, 1e-4)
    assert recipe.random_crop_scale == [0.5, 1.0]


def test_scientific_notation_and_whole_numbers_are_floats(tmp_path):
    values = load_recipe_file(write(tmp_path, "weight_decay: 1e-4\nlearning_rate: 1\nimage_std: [1, 1, 1]\n"))
    assert values == {"weight_decay": 1e-4, "learning_rate": 1.0, "image_std": [1.0, 1.0, 1.0]}
    assert all(type(value) is float for value in (values["weight_decay"], values["learning_rate"]))


def test_saved_recipe_is_the_same_recipe(tmp_path):
    recipe = parse_recipe(["--config", str(PROJECT / "recipes" / "digits.yaml"), "--weight_decay", "3e-5"])
    recipe.save(tmp_path / "recipe.yaml")
    assert parse_recipe(["--config", str(tmp_path / "recipe.yaml")]) == recipe


def test_recipe_and_options_share_no_field_and_one_flat_file(tmp_path):
    decisive, options = ({field.name for field in fields(part)} for part in (Recipe, RunOptions))
    assert not decisive & options
    TrainingArguments().save(tmp_path / "recipe.yaml")
    saved = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert set(saved) | {"hub_token"} == decisive | options


def test_options_may_change_and_what_decides_the_result_may_not():
    before = asdict(TrainingArguments())
    changed = {"dataloader_num_workers": 3, "mixed_precision": "bf16", "hub_model_id": "ann/resnet", "keep_last": 2}
    assert TrainingArguments(**changed).changes_since(before) == []
    recipe = TrainingArguments(**changed, learning_rate=0.2, eval_flip=True)
    assert recipe.changes_since(before) == ["learning_rate: 0.1 -> 0.2", "eval_flip: False -> True"]
    assert recipe.changes_since({"learning_rate": 0.2}) == ["eval_flip: False -> True"]


def test_published_are_the_recipe_and_what_options_are_nobodys_secret():
    published = TrainingArguments(hub_token="hf_x", output_dir="runs/x", mixed_precision="bf16").public_dict()
    assert published["mixed_precision"] == "bf16"
    assert set(published) >= set(asdict(Recipe()))
    private = {field.name for field in fields(TrainingArguments)} - set(published)
    assert private == {
        "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "allow_recipe_change", "profile_steps",
        "teacher_cache",
        *(field.name for field in fields(RunOptions) if "hub" in field.name),
    }  # fmt: skip


def test_words_on_the_command_line_mean_what_they_do_to_transformers_parser():
    # Its own fields: that parser changes the types of those it is given.
    plain = [
        (
            each.name,
            each.type,
            field(default_factory=lambda: ["none"]) if each.name == "report_to" else field(default=None),
        )
        for each in fields(TrainingArguments)
    ]
    for words in (
        "--nesterov", "--nesterov no", "--streaming T", "--cudnn_benchmark false", "--hub_private_repo 1",
        "--report_to wandb tensorboard", "--report_to wandb", "--lr_step_epochs 1 2.5", "--image_size_ramp 3 5",
        "--keep-last 3", "--max_grad_norm=1e-1", "--train-interpolation random", "--dataset_name a=b", "--seed 7",
    ):  # fmt: skip
        name = words.split("=")[0].split()[0].lstrip("-").replace("-", "_")
        more = ["--image_size_start", "128"] if "ramp" in words else []
        ours = parse_recipe(["--config", str(PROJECT / "recipes" / "imagenet1k.yaml"), *words.split(), *more])
        (theirs,) = HfArgumentParser(make_dataclass("Plain", plain)).parse_args_into_dataclasses(words.split())
        assert getattr(ours, name) == getattr(theirs, name), words


def test_every_field_is_explained():
    assert all(field.metadata["help"].endswith((".", "'.", "none.")) for field in fields(TrainingArguments))


def test_help_lists_every_field(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_recipe(["--config", str(RECIPES[0]), "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{field.name}" in shown for field in fields(TrainingArguments))
    assert "(at least 1; default: 224)" in " ".join(shown.split())


@pytest.mark.parametrize(("arguments", "code"), [("--help", 0), ("--learnig_rate 1", 2), ("--seed -1", 2)])
def test_help_and_mistakes_are_told_before_torch_transformers_and_the_model_are_imported(arguments, code):
    program = f"""
import sys
from resnet50_recipe.errors import user_errors_exit_cleanly
from resnet50_recipe.recipe_file import parse_recipe
try:
    with user_errors_exit_cleanly():
        parse_recipe(["--config", {str(RECIPES[0])!r}, *{arguments.split()!r}])
finally:
    assert not {{"torch", "numpy", "transformers", "modeling_resnet50"}} & set(sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dephts": [1]}, "config_overrides: unknown field 'dephts'; did you mean 'depths'"),
        ({"depths": [1]}, "config_overrides: .*one entry per stage"),
    ],
)
def test_an_architecture_that_cannot_be_is_one_clear_error(overrides, message):
    with pytest.raises(UserError, match=message):
        model_config(Recipe(config_overrides=overrides))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learnig_rate: 0.1", r"mine.yaml: unknown key 'learnig_rate'; did you mean 'learning_rate'\?"),
        ("learning_rate: fast", r"mine.yaml: learning_rate: 'fast' is neither a number nor arithmetic"),
        ("num_train_epochs: 1.5", "'num_train_epochs' expected int, got float"),
        ("random_crop_scale: [a, b]", "random_crop_scale"),
        ("learning_rate: -0.1", "learning_rate must be 0 or more, got -0.1"),
        ("learning_rate: .nan", "learning_rate must be 0 or more, got nan"),
        ("num_train_epochs: 2\nwarmup_epochs: 3", "warmup_epochs must not be longer than the training"),
        ("seed: 1\nseed: 2", "key 'seed' is given twice"),
        ("- a list", "must hold `field: value` lines"),
        ("a: [", "not valid YAML"),
        ("push_to_hub: true", "push_to_hub needs hub_model_id"),
        ("mixed_precision: fp8", "mixed_precision"),
        ("learning_rate: 9**9**9", r"cannot work out '9\*\*9\*\*9' \(Numerical result out of range\)"),
        (f"learning_rate: {'2**' * 60}2", "cannot work out '2.*…' \\(Numerical result out of range\\)"),
        (f"learning_rate: '{'-' * 20_000}1'", "cannot work out '-{60}…': 20,001 characters, and 200 are the most"),
        (f"learning_rate: '{'(' * 20_000}1'", "20,001 characters, and 200 are the most"),
        (f"learning_rate: '{'(' * 110}1'", "cannot work out"),
        ("learning_rate: (-8)**0.5", r"cannot work out '\(-8\)\*\*0.5' \(no real number\)"),
        (f"learning_rate: {'9' * 5000}", "not valid YAML"),
        ("learning_rate: 2024-99-99", "not valid YAML: month must be in 1..12"),
        (f"config_overrides: {'[' * 1500}", "not valid YAML"),
        ("seed: 4294967296", "seed must be below 4,294,967,296, for NumPy, got 4294967296"),
        ("seed: -1", "seed must be 0 or more, got -1"),
        ("learning_rate: .inf", "learning_rate must be 0 or more, got inf"),
        ("image_size: 0", "image_size must be at least 1, got 0"),
        ("keep_last: 0", "keep_last must be at least 1, got 0"),
        ("watchdog_minutes: 0", "watchdog_minutes must be positive, got 0.0"),
        ("random_flip: 1.5", r"random_flip must be in \[0, 1\], got 1.5"),
        ("ema_decay: 1", r"ema_decay must be in \[0, 1\), got 1.0"),
        ("eval_crop_ratio: 0", r"eval_crop_ratio must be in \(0, 1\], got 0.0"),
        ("train_val_split: 1", "train_val_split must be between 0 and 1, got 1.0"),
        ("rand_augment_magnitude: 11", r"rand_augment_magnitude must be in \[0, 10\], got 11.0"),
        ("mixup_group_size: 3", "mixup_group_size must be even: images mix in pairs, got 3"),
        ("random_crop_ratio: [2, 1]", r"random_crop_ratio must be two numbers, 0 < low <= high, got \[2.0, 1.0\]"),
        ("random_crop_scale: [1, 2]", r"random_crop_scale must be shares of the image, at most 1, got \[1.0, 2.0\]"),
        ("hub_model_id: me", "hub_model_id must be user/name, of letters, digits, '-', '_' and '.', got 'me'"),
        ("profile_steps: 20-10", "profile_steps must be two steps, the first and the last, as in 10-20, got '20-10'"),
    ],
)
def test_bad_recipe_is_one_clear_error(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as error:
        parse_recipe(["--config", str(write(tmp_path, text))])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learnig_rate", "1"], r"unknown argument '--learnig_rate'; did you mean '--learning_rate'\?"),
        (["--learning_rate", "fast"], "learning_rate: 'fast' is neither a number nor arithmetic"),
        (["--warmup_epochs", "1000"], "warmup_epochs"),
        (["--config_overrides", "{"], "not a YAML mapping"),
        (["--config_overrides", "{a: 2024-99-99}"], "not a YAML mapping"),
        (["--learning_rate", "9**9**9"], "cannot work out"),
    ],
)
def test_bad_command_line_is_one_clear_error(arguments, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(["--config", str(RECIPES[0]), *arguments])


def test_without_config_the_recipes_are_named(monkeypatch):
    monkeypatch.chdir(PROJECT)
    with pytest.raises(UserError, match=r"recipes/digits.yaml  Handwritten digits"):
        parse_recipe([])
    with pytest.raises(UserError, match=r"(?s)cannot read the recipe recipes/nothing.yaml.*recipes/digits.yaml"):
        parse_recipe(["--config", "recipes/nothing.yaml"])


def test_total_batch_is_divided_over_processes_and_accumulation():
    recipe = TrainingArguments(total_train_batch_size=256, gradient_accumulation_steps=2)
    assert recipe.local_batch_size(8) == 16
    with pytest.raises(UserError, match=r"3 process\(es\) × 2 accumulation step\(s\): .* 252 or 258 would"):
        recipe.local_batch_size(3)
