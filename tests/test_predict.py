"""`resnet50 predict` names what is in images, and says which it could not read."""

import io
import json

import pandas as pd
import pytest
import torch
from PIL import Image
from shared import TINY, as_if_trained, write_image
from transformers import AutoImageProcessor, pipeline

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification, ResNet50Model
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main


NAMES = ["ant", "bee", "cat", "dog"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(0)
    label2id = {name: number for number, name in enumerate(NAMES)}
    config = ResNet50Config(**TINY, id2label=dict(enumerate(NAMES)), label2id=label2id)
    model = as_if_trained(ResNet50ForImageClassification(config))
    folder = tmp_path_factory.mktemp("predict") / "model"
    save_model_and_processor(
        folder, model, image_processor(Preprocessing.by_ratio(16, 0.5, "bilinear", [0.5] * 3, [0.25] * 3))
    )
    return folder


@pytest.fixture
def photos(tmp_path):
    for number in range(5):
        write_image(tmp_path / "photos" / f"{number}.jpg", seed=number, size=(32, 32))
    write_image(tmp_path / "photos" / "below" / "5.png", seed=5, size=(32, 32))
    (tmp_path / "photos" / "notes.txt").write_text("not a picture")
    return tmp_path / "photos"


def answers(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_names_and_probabilities_are_the_pipelines(model_folder, photos, capsys):
    main(["predict", str(model_folder), str(photos), "--topk", "3", "--json", "--batch_size", "4"])
    found = answers(capsys)
    assert [row["image"] for row in found] == sorted(str(path) for path in photos.rglob("*") if path.suffix != ".txt"
                                                     and path.is_file())  # fmt: skip
    classify = pipeline("image-classification", str(model_folder))
    for row in found:
        expected = classify(Image.open(row["image"]), top_k=3)
        assert [answer["label"] for answer in row["predictions"]] == [answer["label"] for answer in expected]
        for ours, theirs in zip(row["predictions"], expected):
            assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)


@pytest.mark.parametrize("way", ["folder", "pattern", "files", "standard input"])
def test_every_way_to_name_images_gives_the_same(way, model_folder, photos, capsys, monkeypatch):
    files = [str(photos / f"{number}.jpg") for number in range(5)]
    (photos / "below" / "5.png").unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(files) + "\n"))
    given = {"folder": [str(photos)], "pattern": [str(photos / "*.jpg")], "files": files, "standard input": ["-"]}
    main(["predict", str(model_folder), *given[way], "--json"])
    assert [row["image"] for row in answers(capsys)] == files


def test_a_bad_image_is_named_and_the_others_go_on(model_folder, photos, capsys):
    (photos / "2.jpg").write_bytes((photos / "2.jpg").read_bytes()[:200])
    with pytest.raises(SystemExit) as exit_:
        main(["predict", str(model_folder), str(photos / "*.jpg"), str(photos / "gone.jpg"), "--json"])
    assert exit_.value.code == 1
    captured = capsys.readouterr()
    rows = {row.pop("image"): row for row in map(json.loads, captured.out.splitlines())}
    assert len(rows) == 6
    assert [path for path, row in rows.items() if "error" in row] == [str(photos / "2.jpg"), str(photos / "gone.jpg")]
    assert f"unreadable image: {photos / '2.jpg'}: " in captured.err
    assert f"unreadable image: {photos / 'gone.jpg'}: No such file or directory" in captured.err


def test_for_people_it_prints_the_image_and_its_classes(model_folder, photos, capsys):
    main(["predict", str(model_folder), str(photos / "0.jpg"), "--topk", "9"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(photos / "0.jpg")
    assert sorted(line.split()[1] for line in lines[1:]) == NAMES  # all there are
    shares = [float(line.split()[0].rstrip("%")) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "empty has no images (JPEG, PNG, "),
        (["*.tiff"], "no file matches *.tiff"),
        (["x.jpg", "--topk", "0"], "--topk and --batch_size must be at least 1"),
        (["x.jpg", "--output", "p.xlsx"], "--output p.xlsx: a table of predictions ends in .csv or .parquet"),
        (["x.jpg", "--embeddings"], "--embeddings need a file: --output FILE.parquet"),
        (
            ["0.jpg", "--embeddings", "--output", "p.csv"],
            "--embeddings are written to parquet files: --output p.parquet",
        ),
        (["x.jpg", "--crop_ratio", "2"], "--crop_ratio must be above 0 and at most 1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(model_folder, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as exit_:
        main(["predict", str(model_folder), *arguments])
    assert exit_.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_has_what_is_printed_with_the_paths_and_the_errors(ending, model_folder, photos, capsys):
    (photos / "2.jpg").write_bytes(b"\xff\xd8\xff no more")
    table = photos.parent / f"out, put.{ending}"
    for options in (["--json"], ["--output", str(table)]):
        with pytest.raises(SystemExit):
            main(["predict", str(model_folder), str(photos), "--topk", "2", *options])
        if options == ["--json"]:
            printed = answers(capsys)
    assert capsys.readouterr().out == ""
    read = pd.read_csv if ending == "csv" else pd.read_parquet
    rows = read(table, dtype_backend="numpy_nullable").to_dict("records")
    assert [row["file_name"] for row in rows] == [str(photos / f"{n}.jpg") for n in range(5)] + [
        str(photos / "below" / "5.png")
    ]
    by_name = {row["file_name"]: row for row in rows}
    for row in printed:
        found = by_name[row["image"]]
        if "error" in row:
            assert found["error"] == row["error"]
            assert pd.isna(found["label"])
            continue
        assert pd.isna(found["error"])
        assert [found["label"], found["label_2"]] == [answer["label"] for answer in row["predictions"]]
        assert [found["score"], found["score_2"]] == pytest.approx([a["score"] for a in row["predictions"]])


def test_embeddings_are_what_the_classifier_sees_of_each_image(model_folder, photos, tmp_path):
    paths = [str(photos / f"{number}.jpg") for number in range(5)]
    broken = photos / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no more")
    table = tmp_path / "seen.parquet"
    wanted = ["--batch_size", "2", "--output", str(table), "--embeddings"]
    with pytest.raises(SystemExit):
        main(["predict", str(model_folder), paths[0], str(broken), *paths[1:], *wanted])
    rows = pd.read_parquet(table).set_index("file_name")
    assert rows.loc[str(broken), "embedding"] is None
    model = ResNet50Model.from_pretrained(model_folder).eval()
    processor = AutoImageProcessor.from_pretrained(model_folder)
    for path in paths:
        inputs = processor(Image.open(path), return_tensors="pt")
        with torch.inference_mode():
            expected = model(**inputs).pooler_output.flatten()
        assert rows.loc[path, "embedding"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_table_says_where_no_class_reaches_the_threshold(model_folder, photos, tmp_path):
    table = tmp_path / "seen.csv"
    for threshold, none in (("1", True), ("0.001", False)):
        main(["predict", str(model_folder), str(photos), "--threshold", threshold, "--output", str(table)])
        assert set(pd.read_csv(table)["none"]) == {none}
