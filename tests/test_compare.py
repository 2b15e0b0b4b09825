"""`resnet50 compare` says of several runs what their folders say."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure
from PIL import Image

from modeling_resnet50.training.run_folder import RunFolder
from resnet50_cli import main
from resnet50_recipe.training_arguments import TrainingArguments


def write_run(folder: Path, top1: list[float], average: bool = False, **fields) -> Path:
    """A run folder with a row for each of these accuracies; half an hour an epoch, 100, 101, … images a second."""
    recipe = TrainingArguments(
        output_dir=str(folder), num_train_epochs=4, warmup_epochs=1.0, dataset_name="digits", **fields
    )
    run = RunFolder(recipe)
    run.begin(recipe)
    run.add_session({"devices": {"A100": 8}}, first_epoch=1)
    for epoch, value in enumerate(top1, 1):
        row = {
            "epoch": epoch, "step": 10 * epoch, "train_loss": 2 - value, "train_top1": value / 2,
            "val_loss": 1 - value, "val_top1": value, "val_top5": (1 + value) / 2, "learning_rate": 0.1 / epoch,
            "images_per_second": 99.0 + epoch, "seconds": 1800.0 * epoch,
        }  # fmt: skip
        if average:
            row |= {f"average_{name}": row[name] for name in ("val_loss", "val_top5")}
            row["average_val_top1"] = value + 0.05
        run.log(row)
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    write_run(Path("plain"), [0.2, 0.6, 0.5])
    write_run(Path("mixed"), [0.3, 0.7], average=True, learning_rate=0.2, mixup_alpha=0.2, ema_decay=0.9)
    return ["plain", "mixed"]


def row_of(text: str, title: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f" {title} ")]
    return line.removeprefix(f" {title} ").split()


def test_table_has_the_fields_that_differ_and_the_results(runs, capsys):
    main(["compare", *runs, "--output", "curves.png"])
    text = capsys.readouterr().out
    assert row_of(text, "learning_rate") == ["0.1", "0.2"]
    assert row_of(text, "mixup_alpha") == ["0.0", "0.2"]
    assert row_of(text, "ema_decay") == ["–", "0.9"]
    for same in ("weight_decay", "num_train_epochs", "output_dir"):
        assert same not in text
    assert row_of(text, "best by") == ["val_top1", "val_top1"]
    assert row_of(text, "its top-1") == ["60.00%", "75.00%"]
    assert row_of(text, "its top-5") == ["80.00%", "85.00%"]
    assert row_of(text, "its loss") == ["0.4000", "0.3000"]
    assert row_of(text, "its epoch") == ["2", "2", "(average)"]
    assert row_of(text, "epochs") == ["3", "of", "4", "2", "of", "4"]
    assert row_of(text, "hours") == ["1.50", "1.00"]
    assert row_of(text, "images/s") == ["101", "100"]
    assert text.endswith("curves: curves.png\n")


def test_digits_are_those_that_the_number_of_images_allows(runs, capsys):
    for name, images in zip(runs, (15, 50_000)):
        run = RunFolder(TrainingArguments(output_dir=name))
        run.add_session({"devices": {"A100": 8}, "num_validation_images": images}, first_epoch=1)
    main(["compare", *runs])
    assert row_of(capsys.readouterr().out, "its top-1") == ["60%", "75.0%"]


def test_of_five_classes_or_fewer_there_is_no_top5(runs, capsys):
    for run in runs:
        path = RunFolder(TrainingArguments(output_dir=run)).metrics_file
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        full = [{**row, **{name: 1.0 for name in row if name.endswith("top5")}} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in full))
    main(["compare", *runs])
    assert "top-5" not in capsys.readouterr().out


def test_json_is_a_line_for_each_run_and_no_picture(runs, capsys):
    main(["compare", *runs, "--json"])
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["differences"] == {"mixup_alpha": 0.0, "learning_rate": 0.1, "ema_decay": None}
    assert second["differences"] == {"mixup_alpha": 0.2, "learning_rate": 0.2, "ema_decay": 0.9}
    assert (first["val_top1"], first["best_epoch"], first["epochs"], first["hours"]) == (0.6, 2, 3, 1.5)
    assert (second["val_top1"], second["averaged"], second["devices"]) == (0.75, True, "8 × A100")
    assert not list(Path().glob("*.png"))


def test_picture_has_all_runs_and_a_star_at_the_best_epoch_of_each(runs, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    main(["compare", *runs])
    with Image.open("reports/comparison.png") as picture:
        assert picture.size == (1200, 780)
    loss, top1, learning_rate, speed = figures[0].axes
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == runs
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in top1.lines]
    assert drawn[:3] == [([1, 2, 3], [0.1, 0.3, 0.25]), ([1, 2, 3], [0.2, 0.6, 0.5]), ([2], [0.6])]
    assert drawn[3:] == [([1, 2], [0.15, 0.35]), ([1, 2], pytest.approx([0.35, 0.75])), ([2], [0.75])]
    assert [list(line.get_ydata()) for line in speed.lines] == [[100, 101, 102], [100, 101]]
    assert [len(axes.lines) for axes in (loss, learning_rate)] == [6, 2]
    assert len({line.get_color() for line in learning_rate.lines}) == 2


def test_runs_of_the_same_name_are_told_apart_by_their_paths(runs, tmp_path, capsys):
    write_run(tmp_path / "elsewhere" / "plain", [0.1])
    main(["compare", "plain", "elsewhere/plain", "--json"])
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["plain", "elsewhere/plain"]


def test_the_name_of_a_folder_is_no_formula_and_acts_on_nothing(runs, recwarn):
    Path(runs[0]).rename(r"$\bad$" + "\x1b[31m")
    main(["compare", r"$\bad$" + "\x1b[31m"])
    assert not [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)]
    assert Path("reports/comparison.png").is_file()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("nowhere", "nowhere is not the folder of a run: no readable recipe.yaml in it"),
        ("begun", "begun: no epoch of this run is over yet, so there is nothing to compare"),
        ("model", "model is a model, not the folder of a run: give the folder above it"),
        ("foreign", "foreign is not the folder of a run: its recipe.yaml is of another version"),
        ("cut", "cut/metrics.jsonl is damaged: line 2"),
    ],
)
def test_what_is_not_a_run_is_one_clear_error(runs, argument, message, capsys):
    write_run(Path("begun"), [])
    write_run(Path("model"), [0.5])
    Path("model/config.json").write_text("{}")
    write_run(Path("foreign"), [0.5])
    Path("foreign/recipe.yaml").write_text(yaml.safe_dump({**asdict(TrainingArguments()), "warp_speed": 9}))
    write_run(Path("cut"), [0.5])
    with Path("cut/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    with pytest.raises(SystemExit) as stop:
        main(["compare", "plain", argument])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(Path().glob("*.png"))
