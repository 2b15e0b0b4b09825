"""`resnet50 demo`, and the same page as a Space: in a browser, beside transformers' own pipeline."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from browser import open_browser, watched
from fork_server import start_python
from gradio.data_classes import ImageData
from hub_server import HubServer
from PIL import Image
from shared import TINY, as_if_trained, free_port, write_image
from test_bad_images import CONVERTED, EPS, PICTURE, RAW_PHOTOS, saved
from transformers import pipeline

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.decoding import decode_image
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.evaluation.grad_cam import grad_cam, overlay
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.spaces import gradio_space
from modeling_resnet50.hub.spaces.gradio_space import app
from modeling_resnet50.hub.spaces.writing import write_gradio_space
from resnet50_cli import main


NAMES = ["ant", "bee", "cat", "dog", "<b>eel</b>", "fox", "gnu"]


def write_model(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    labels = {"id2label": dict(enumerate(NAMES)), "label2id": {name: i for i, name in enumerate(NAMES)}}
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, **labels)))
    torch.nn.init.normal_(model.fc.weight, std=0.3)  # so that no two classes are as likely
    processor = image_processor(
        Preprocessing.by_ratio(64, 0.875, "bilinear", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    save_model_and_processor(folder, model, processor)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return [write_model(root / "first", 1), write_model(root / "second", 2)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        write_image(folder / f"{number}.jpg", seed=number, size=(150, 100))
    return folder


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


def expected(model: Path, picture: Path) -> list[tuple[str, float]]:
    classify = pipeline("image-classification", str(model), device="cpu")
    return [(answer["label"], answer["score"]) for answer in classify(str(picture), top_k=5)]


def shown(page, position: int) -> list[tuple[str, float]]:
    """The bars of a model."""
    label = page.get_by_test_id("block-label").filter(has_text="first" if position == 0 else "second").first
    bars = label.locator("xpath=ancestor::*[contains(@class, 'block')][1]").locator(".confidence-set")
    bars.first.wait_for()
    rows = [text.rsplit("\n", 1) for text in bars.all_inner_texts()]
    return [(name.strip(), float(share.strip().rstrip("%")) / 100) for name, share in rows]


def assert_agree(answers: list[tuple[str, float]], reference: list[tuple[str, float]]) -> None:
    assert [name for name, _ in answers] == [name for name, _ in reference]
    assert [score for _, score in answers] == pytest.approx([score for _, score in reference], abs=0.0051)  # rounded


@pytest.fixture
def demo(monkeypatch):
    """Run `resnet50 demo` until the test is over; returns its address. No other machine may be asked for."""
    ready, over, asked_for, port = threading.Event(), threading.Event(), [], free_port()
    look_up = socket.getaddrinfo

    def look_up_here(host, *arguments, **options):
        if host not in ("127.0.0.1", "localhost", None):
            asked_for.append(host)
        return look_up(host, *arguments, **options)

    def block_thread(self):
        ready.set()
        over.wait()
        self.close(verbose=False)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    monkeypatch.setattr(gr.Blocks, "block_thread", block_thread)
    thread = None

    def start(*arguments) -> str:
        nonlocal thread
        command = ["demo", *map(str, arguments), "--port", str(port)]
        thread = threading.Thread(target=main, args=(command,), daemon=True)
        thread.start()
        assert ready.wait(120)
        return f"http://127.0.0.1:{port}"

    yield start
    over.set()
    thread.join(30)
    assert asked_for == []


def test_two_models_answer_as_the_pipeline_does_and_nobody_else_is_asked(demo, models, pictures, browser, capsys):
    address = demo(*models, "--examples", pictures)
    assert capsys.readouterr().out.startswith(f"{address}/ asks ")
    with watched(browser) as page:
        page.goto(address)
        page.locator("input[type=file]").first.set_input_files(pictures / "1.jpg")
        for position, model in enumerate(models):
            assert_agree(shown(page, position), expected(model, pictures / "1.jpg"))
        # where the model looked: for the likeliest class, and then for the one that is chosen
        likeliest, second = [name for name, _ in shown(page, 0)[:2]]
        page.get_by_text(f"sees: {likeliest}").first.wait_for()
        page.locator(".confidence-set").nth(1).click()
        page.get_by_text(f"sees: {second}").first.wait_for()
        # an example
        page.reload()
        page.locator("button.gallery-item").nth(2).click()
        assert_agree(shown(page, 1), expected(models[1], pictures / "2.jpg"))


def write_abstaining_model(folder: Path, seed: int, threshold: float) -> Path:
    """As `resnet50 evaluate --wanted_precision` leaves it."""
    config = json.loads((write_model(folder, seed) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"confidence_threshold": {"threshold": threshold}}))
    return folder


def test_below_its_own_threshold_a_model_says_none_of_these(models, pictures, tmp_path):
    """As `resnet50 predict` does, in the demo's page and a Space's: the likeliest classes stay to be seen."""
    picture = app.opened(str(pictures / "1.jpg"))
    plain = app.open_classifier(str(models[0]))
    best = max(plain.scores(plain.pixel_values(picture)))
    sure, unsure = (
        app.open_classifier(str(write_abstaining_model(tmp_path / f"{number}", 1, threshold)))
        for number, threshold in enumerate((best - 1e-4, best + 1e-4))
    )
    page = app.build_page([plain, sure, unsure], grad_cam, overlay)
    (answer,) = (function.fn for function in page.fns.values() if function.api_name == "classify")
    said = answer(str(pictures / "1.jpg"))
    words = [value for value in said if isinstance(value, str)]
    assert words == ["", f"<b>None of these</b>: no class reaches {best + 1e-4:.1%}; most likely:"]
    assert len(said) == 2 + 3 + 3
    assert [value for value in said if isinstance(value, dict) and NAMES[0] in value] == [said[0], said[3], said[6]]
    assert answer(None) == [None] * 8


def test_the_camera_is_asked(demo, models, browser):
    address = demo(models[0])
    with watched(browser) as page:
        page.goto(address)
        page.get_by_label("Capture from camera").click()
        page.get_by_text("Click to Access Webcam").click()
        # Before the camera's first frame there is nothing to take a picture of.
        page.wait_for_function(
            "[...document.querySelectorAll('video')].some(v => v.readyState >= 2 && v.videoWidth > 0)"
        )
        page.get_by_label("capture photo").click()
        assert sum(score for _, score in shown(page, 0)) > 0.5


def test_a_space_runs_in_a_fresh_folder_without_this_package(models, pictures, browser, tmp_path):
    """With the model from the Hub, and the code that came with it."""
    space, elsewhere = tmp_path / "space", tmp_path / "elsewhere"
    space.mkdir()
    write_gradio_space(space, "Ask the net", ["ann/first"], [])
    elsewhere.mkdir()
    (elsewhere / "modeling_resnet50.py").write_text("raise ImportError('not installed here')")
    port = free_port()
    with HubServer() as hub:
        hub.add_folder("ann/first", models[0])
        environment = {**os.environ, **hub.environment(tmp_path / "home"), "PYTHONPATH": str(elsewhere),
                       "GRADIO_SERVER_PORT": str(port)}  # fmt: skip
        process = start_python(["app.py"], environment, space)
        try:
            while not listens(port):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                assert process.poll() is None, process.communicate()
            with watched(browser) as page:
                page.goto(f"http://127.0.0.1:{port}")
                page.locator("input[type=file]").first.set_input_files(pictures / "0.jpg")
                assert_agree(shown(page, 0), expected(models[0], pictures / "0.jpg"))
        finally:
            process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing/there"], "cannot load the model nothing/there"),
        (["MODEL", "--examples", "EMPTY"], "no images there"),
        (["MODEL", "--port", "PORT"], "cannot listen on 127.0.0.1"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(arguments, message, models, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {"MODEL": str(models[0]), "EMPTY": str(tmp_path), "PORT": str(taken.getsockname()[1])}
        with pytest.raises(SystemExit) as exit_:
            main(["demo", *(words.get(argument, argument) for argument in arguments)])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_gradio_it_is_said_how_to_get_it(models, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, f"{gradio_space.__name__}.app", raising=False)
    monkeypatch.delattr(gradio_space, "app", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit):
        main(["demo", str(models[0])])
    assert "a demo needs more packages (gradio): pip install 'modeling-resnet50[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", CONVERTED)
def test_a_picture_of_any_kind_is_to_the_page_what_it_is_in_training(kind, tmp_path):
    data, *_ = CONVERTED[kind]
    (tmp_path / "picture").write_bytes(data)
    picture = app._picture_field([]).preprocess(ImageData(path=str(tmp_path / "picture")))
    pixels = np.asarray(app.opened(picture).convert("RGB"))
    assert np.array_equal(pixels, decode_image(data).permute(1, 2, 0))


STRIP = saved(Image.new("RGB", (101, 1)), "PNG")  # resized, a longer one would take gigabytes


@pytest.mark.parametrize(
    ("data", "message"),
    [(data, "a camera's raw file") for data in RAW_PHOTOS.values()]
    + [(data, "no picture that is read here") for data in (b"", b"<svg/>", EPS, saved(PICTURE, "TIFF")[:3000], STRIP)],
)
def test_what_is_no_picture_is_said_on_the_page(data, message, tmp_path):
    (tmp_path / "picture.tif").write_bytes(data)
    with pytest.raises(gr.Error, match=message):
        app.opened(str(tmp_path / "picture.tif"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_shared_page_ends_as_by_ctrl_c_whatever_ends_it(number, models, monkeypatch):
    """Then Gradio ends the tunnel, a process of its own, which would else go on to lead strangers to this machine."""
    ended = []

    def block_thread(self):
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            ended.append(number)

    monkeypatch.setattr(gr.Blocks, "block_thread", block_thread)
    monkeypatch.setattr(app, "launch", lambda page, **options: setattr(page, "share_url", "https://…"))
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        main(["demo", str(models[0]), "--share"])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ended == [number]


def test_a_strangers_picture_is_neither_a_large_file_nor_many_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # as it is for others again
    given = {}
    app.launch(SimpleNamespace(launch=lambda **options: given.update(options)))
    assert given["max_file_size"] == 20_000_000
    for height, refused in ((5000, False), (5001, True)):  # a few kilobytes each
        data = io.BytesIO()
        Image.new("1", (10_000, height)).save(data, "PNG")
        with pytest.raises(Image.DecompressionBombError) if refused else pytest.warns(Image.DecompressionBombWarning):
            Image.open(data)


def test_a_space_without_a_model_says_so(tmp_path, monkeypatch):
    """One whose models/ did not come along, and whose README.md names none."""
    write_gradio_space(tmp_path, "Ask the net", [], [])
    monkeypatch.setattr(app, "HERE", tmp_path)
    monkeypatch.setitem(sys.modules, "grad_cam", SimpleNamespace(grad_cam=grad_cam, overlay=overlay))
    with pytest.raises(SystemExit, match="no model to ask"):
        app.main()
