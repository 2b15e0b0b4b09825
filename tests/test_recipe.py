"""A recipe is checked, field by field, before anything is done with it."""

from dataclasses import fields
from pathlib import Path

import pytest
from conftest import PROJECT

from modeling_resnet50.architecture import model_config
from resnet50_recipe.errors import UserError
from resnet50_recipe.recipe import Recipe
from resnet50_recipe.recipe_file import load_recipe_file, parse_recipe


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


def test_every_field_is_explained():
    assert all(field.metadata["help"].endswith((".", "'.", "none.")) for field in fields(Recipe))


def test_help_lists_every_field(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_recipe(["--config", str(RECIPES[0]), "--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{field.name}" in shown for field in fields(Recipe))


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
        ("learning_rate: (-8)**0.5", "cannot work out"),
        (f"learning_rate: {'9' * 5000}", "not valid YAML"),
        ("learning_rate: 2024-99-99", "not valid YAML: month must be in 1..12"),
        (f"config_overrides: {'[' * 1500}", "not valid YAML"),
        ("seed: 4294967296", "seed must be below 4,294,967,296"),
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
    recipe = Recipe(total_train_batch_size=256, gradient_accumulation_steps=2)
    assert recipe.local_batch_size(8) == 16
    with pytest.raises(UserError, match=r"3 process\(es\) × 2 accumulation step\(s\): .* 252 or 258 would"):
        recipe.local_batch_size(3)
