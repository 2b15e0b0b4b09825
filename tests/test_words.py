"""Numbers agree with their nouns, and printed commands can be pasted into a shell."""

import ast
import re
import subprocess

import numpy as np
import pytest
from shared import PROJECT

from resnet50_recipe.durations import duration
from resnet50_recipe.words import bytes_in_words, command, counted, says_something


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (1, "class", "1 class"),
        (0, "class", "0 classes"),
        (1000, "class", "1,000 classes"),
        (1, "warm-up epoch", "1 warm-up epoch"),
        (1.0, "warm-up epoch", "1 warm-up epoch"),
        (0.5, "warm-up epoch", "0.5 warm-up epochs"),
        (2, "process", "2 processes"),
        (2, "batch", "2 batches"),
        (2, "epoch", "2 epochs"),
        (np.int64(1), "image", "1 image"),
        (np.int64(1_281_167), "image", "1,281,167 images"),
    ],
)
def test_a_number_agrees_with_its_noun(number, noun, expected):
    assert counted(number, noun) == expected


def test_so_does_its_verb():
    assert [counted(n, "image has", "images have") for n in (1, 2)] == ["1 image has", "2 images have"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(85_100, "85.1 kB"), (12, "0.012 kB"), (1_000_000, "1 MB"), (140_950_000_000, "141 GB"), (2.5e12, "2.5 TB")],
)
def test_bytes_are_told_in_the_unit_that_fits(number, expected):
    assert bytes_in_words(number) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.05, "less than a second"), (1, "1 second"), (45, "45 seconds"), (930, "15.5 minutes"), (2e5, "2.3 days")],
)
def test_so_is_time(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    "word", ["runs/a b", "Grüne Äpfel", "it's", 'a"b', "$HOME", "a;b", "*", "", "!x", "plain/a-1.png"]
)
def test_a_shell_takes_a_command_as_the_words_that_it_was_made_of(word):
    line = command("printf", "%s", word)
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout == word
    assert command("resnet50", "publish", "runs/digits") == "resnet50 publish runs/digits"


@pytest.mark.parametrize("folder", ["modeling_resnet50", "resnet50_cli", "resnet50_recipe"])
def test_no_command_with_a_path_is_put_together_by_hand(folder):
    """`resnet50 publish {path}` in an f-string would be broken by a space: `words.command` quotes."""
    by_hand = re.compile(r"(?:resnet50 [a-z]+|tensorboard --logdir|\bcd|--dataset(?:_name)?) $")
    for path in (PROJECT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                for before, value in zip(node.values, node.values[1:]):
                    if isinstance(before, ast.Constant) and isinstance(value, ast.FormattedValue):
                        assert not by_hand.search(before.value), f"{path.name}:{node.lineno}"


def test_top5_of_five_classes_is_always_right():
    assert [says_something(5, labels) for labels in (3, 5, 6)] == [False, False, True]
