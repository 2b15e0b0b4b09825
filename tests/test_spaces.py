"""Spaces: what is written and sent, and the page that runs a model in the browser, beside the model in Python."""

import base64
import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import node_modules, open_browser, served, watched
from hub_server import HubServer
from huggingface_hub import SpaceCard, constants
from packaging.requirements import Requirement
from PIL import Image
from shared import PROJECT, write_image
from test_demo import NAMES, write_abstaining_model, write_model
from torchvision.transforms.functional import center_crop

from modeling_resnet50.data.decoding import decode_image
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.data.transforms import EvaluationTransform, normalize_by
from modeling_resnet50.hub.classifiers import open_classifier
from modeling_resnet50.hub.spaces import writing
from modeling_resnet50.hub.spaces.examples import folder_examples, own_examples, save_examples
from modeling_resnet50.hub.spaces.writing import GRADIO_VERSION, TRANSFORMERS_JS_VERSION
from resnet50_cli import main
from resnet50_recipe.training_arguments import TrainingArguments


THRESHOLD = 0.15  # one of seven classes has more
PAGES = PROJECT / "modeling_resnet50" / "hub" / "spaces"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "first", 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        write_image(folder / f"{number}.jpg", seed=number, size=(300, 200))
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """For this process too, which has read its environment."""
    with HubServer() as server:
        for name, value in server.environment(tmp_path / "home", "hf_ann").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


# In the browser


@pytest.fixture(scope="module")
def space(pictures, tmp_path_factory):
    """Of the same model, with a threshold that it always reaches."""
    abstaining = write_abstaining_model(tmp_path_factory.mktemp("models") / "first", 1, THRESHOLD)
    folder = tmp_path_factory.mktemp("space") / "ask"
    examples, javascript = ["--examples", str(pictures)], ["--transformers_js", str(node_modules())]
    main(["publish", str(abstaining), "--static_space", str(folder), "--to", "ann/first", *examples, *javascript])
    return folder


@pytest.fixture(scope="module")
def static_space(space):
    with served(space) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, static_space):
    """On a phone, in the dark."""
    with watched(browser, viewport={"width": 360, "height": 740}, color_scheme="dark") as page:
        page.goto(static_space)
        yield page


def answers(page) -> dict[str, float]:
    page.locator("#answers li").first.wait_for()
    bars = "bars => bars.map(bar => [bar.querySelector('.label').innerText, Number(bar.dataset.score)])"
    return dict(page.locator("#answers li").evaluate_all(bars))


@torch.no_grad()
def expected(model: Path, picture: Path) -> dict[str, float]:
    """By the library's own evaluation."""
    classifier = open_classifier(str(model))
    pixels = EvaluationTransform(Preprocessing(73, 64, "bilinear"))(decode_image(picture.read_bytes()))
    logits = classifier.model(normalize_by(classifier.preprocessing, pixels)[None]).logits[0]
    probabilities, labels = logits.softmax(-1).topk(5)
    return dict(zip([NAMES[label] for label in labels], probabilities.tolist()))


def assert_agree(found: dict[str, float], reference: dict[str, float]) -> None:
    assert list(found) == list(reference)
    assert found == pytest.approx(reference, abs=2e-3)  # it computes in half precision


def test_the_browser_answers_as_python_does_and_no_other_server_is_asked(page, model, pictures):
    page.set_input_files("#file", pictures / "1.jpg")
    assert_agree(answers(page), expected(model, pictures / "1.jpg"))  # 109 × 73 pixels before the crop
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.reload()
    page.get_by_alt_text("Example 02.jpg").click()
    # an example has been written anew, which changes grey levels by a few
    assert answers(page) == pytest.approx(expected(model, pictures / "2.jpg"), abs=0.02)


def test_below_the_models_threshold_it_says_none_of_these(page, space, model, pictures):
    settings = json.loads((space / "settings.json").read_text())
    assert settings["threshold"] == THRESHOLD
    best = max(expected(model, pictures / "1.jpg").values())
    settings["threshold"] = best + 0.01

    def answer(route):
        route.fulfill(json=settings)

    page.set_input_files("#file", pictures / "1.jpg")
    assert len(answers(page)) == 5
    assert page.locator("#none").is_hidden()
    page.route("**/settings.json", answer)
    page.reload()
    page.set_input_files("#file", pictures / "1.jpg")
    assert len(answers(page)) == 5
    assert page.inner_text("#none") == f"None of these: no class reaches {100 * best + 1:.1f} %; most likely:"


def test_it_says_what_it_downloads_and_what_runs_it(page):
    page.locator("#status", has_text="The first picture fetches the model (under 1 MB)").wait_for()
    assert "about 28 MB" in page.inner_text("#status")
    assert "Runs on the processor (WASM)" in page.inner_text("#footer")
    assert page.locator("#footer a").first.get_attribute("href") == "https://huggingface.co/ann/first"


def test_a_picture_may_be_dropped_pasted_or_taken_and_anything_else_is_refused(page, pictures, model):
    content = list((pictures / "0.jpg").read_bytes())
    transfer = page.evaluate_handle(
        """content => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(content)], "0.jpg", {type: "image/jpeg"})); return transfer }""",
        content,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    assert_agree(answers(page), expected(model, pictures / "0.jpg"))
    page.set_input_files("#file", {"name": "no.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.locator("#status.wrong", has_text="this is no picture that the browser can read").wait_for()
    assert page.locator("#answers li").count() == 0
    page.evaluate("files => dispatchEvent(Object.assign(new Event('paste'), {clipboardData: files}))", transfer)
    assert_agree(answers(page), expected(model, pictures / "0.jpg"))
    page.click("#camera")
    page.click("#shutter")
    page.locator("#video").wait_for(state="hidden")
    assert len(answers(page)) == 5


@pytest.fixture(scope="module")
def in_page(browser, static_space):
    """Returns a function: of pixels `(height, width, 3)`, those that pixels.js makes of them as `picture`."""
    with watched(browser) as page:
        page.goto(static_space)

        def run(expression: str, pixels: np.ndarray, names: dict) -> np.ndarray:
            height, width = pixels.shape[:2]
            rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
            made = page.evaluate(
                f"""async ([text, width, height, names]) => {{
                const {{ centerCrop, resize, square }} = await import("./pixels.js");
                const data = Uint8ClampedArray.from(atob(text), (byte) => byte.charCodeAt(0));
                const picture = new ImageData(data, width, height);
                const made = {expression};
                const bytes = Array.from(made.data, (byte) => String.fromCharCode(byte)).join("");
                return [btoa(bytes), made.height, made.width] }}""",
                [base64.b64encode(rgba.tobytes()).decode(), width, height, names],
            )
            return np.frombuffer(base64.b64decode(made[0]), np.uint8).reshape(*made[1:], 4)[:, :, :3]

        yield run


@pytest.mark.parametrize("resample", [2, 3])
def test_pictures_are_resized_to_the_pixels_that_pillow_gives(in_page, resample):
    noise = np.random.default_rng(0).integers(0, 256, (67, 101, 3), dtype=np.uint8)
    for size in ((48, 32), (101, 40), (150, 100)):  # (width, height): smaller, along one side, larger
        found = in_page("resize(picture, ...names.size, names.resample)", noise, {"size": size, "resample": resample})
        np.testing.assert_array_equal(found, np.asarray(Image.fromarray(noise).resize(size, resample)))


def test_pictures_are_cropped_where_torchvision_does(in_page):
    for margin in range(6):
        picture = np.arange(10 + margin, dtype=np.uint8)[None, :, None].repeat(10, 0).repeat(3, 2)
        found = in_page("centerCrop(picture, 10, 10)", picture, {})
        np.testing.assert_array_equal(
            found, center_crop(torch.from_numpy(picture).permute(2, 0, 1), [10, 10]).permute(1, 2, 0)
        )


@pytest.mark.parametrize("crop_mode", ["center", "squash", "pad"])
@pytest.mark.parametrize("sizes", [(33, 33), (36, 32)], ids=str)
def test_a_picture_becomes_the_square_that_python_makes_of_it(in_page, crop_mode, sizes):
    preprocessing = Preprocessing(*sizes, "bicubic", (0.48, 0.45, 0.4), crop_mode=crop_mode)
    for width, height in ((101, 67), (43, 90), (20, 31), (300, 2) if crop_mode == "pad" else (64, 64)):
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = in_page("square(picture, names)", noise, preprocessing.for_processor())
        ours = EvaluationTransform(preprocessing)(torch.from_numpy(noise).permute(2, 0, 1))
        np.testing.assert_array_equal(found, ours.permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "photos"
    main(["export", str(model), str(folder), "--format", "onnx", "--with_preprocessing"])
    return folder


def test_a_page_of_ones_own_asks_the_file_that_takes_photos(browser, exported, model, pictures, tmp_path):
    out = tmp_path / "page" / "photos"
    shutil.copytree(exported, out)
    pixels = decode_image((pictures / "1.jpg").read_bytes()).permute(1, 2, 0)
    with served(tmp_path / "page") as address, watched(browser) as page:
        (tmp_path / "page/index.html").write_text("<!doctype html>")
        for path in node_modules().rglob("dist/*"):
            (out.parent / path.name).write_bytes(path.read_bytes())
        page.goto(address)
        found = page.evaluate(
            """async ([text, height, width]) => {
                const pixels = Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0));
                const { AutoModel, Tensor, env } = await import("./transformers.min.js");
                Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: "./" });
                const runtime = ["mjs", "wasm"].map((kind) => [
                    kind, new URL(`ort-wasm-simd-threaded.asyncify.${kind}`, location.href).href,
                ]);
                env.backends.onnx.wasm.wasmPaths = Object.fromEntries(runtime);
                const about = { model_file_name: "model_with_preprocessing", dtype: "fp32", device: "wasm" };
                const model = await AutoModel.from_pretrained("photos", about);
                const images = new Tensor("uint8", pixels, [1, height, width, 3]);
                return Array.from((await model({ images })).probabilities.data) }""",
            [base64.b64encode(pixels.numpy().tobytes()).decode(), *pixels.shape[:2]],
        )
    reference = expected(model, pictures / "1.jpg")
    best = sorted(zip(found, NAMES), reverse=True)[:5]
    assert {name: score for score, name in best} == pytest.approx(reference, abs=2e-3)


# Written and sent


def test_a_space_arrives_whole_and_again_without_what_is_gone(hub, model, pictures, capsys):
    publish = ["publish", str(model), "--space", "ann/ask"]
    main([*publish, "--examples", str(pictures), "--dry_run"])
    assert "ann/ask, branch main (would be made)" in capsys.readouterr().out
    assert hub.repos == {}
    main([*publish, "--examples", str(pictures)])
    space = hub.repos["spaces/ann/ask"]
    assert space.sdk == "gradio"
    assert f"{hub.url}/spaces/ann/ask/tree/main" in capsys.readouterr().out
    carried = {f"models/{model.parent.name}-first/{name}" for name in (
        "config.json", "model.safetensors", "preprocessor_config.json", "modeling_resnet50.py",
        "configuration_resnet50.py")}  # fmt: skip
    examples = {f"examples/0{number}.jpg" for number in range(3)}
    page = {"README.md", "app.py", "grad_cam.py", "requirements.txt", ".gitattributes"}
    assert set(space.files) == carried | examples | page
    card = SpaceCard(space.files["README.md"].decode()).data.to_dict()
    assert card["sdk"] == "gradio"
    assert (card["sdk_version"], card["app_file"], card["license"]) == (GRADIO_VERSION, "app.py", "apache-2.0")
    assert "models" not in card  # they are in the Space itself
    main([*publish, "--to", "ann/net", "--dry_run"])
    assert re.search(r"- examples/00.jpg", capsys.readouterr().out)
    main([*publish, "--to", "ann/net"])
    assert set(space.files) == page
    readme = space.files["README.md"].decode()
    card = SpaceCard(readme).data.to_dict()
    assert card["models"] == card["preload_from_hub"] == ["ann/net"]
    assert "&id" not in readme  # an anchor of YAML, which the Hub's own reader need not know


def test_a_run_that_is_not_published_yet_comes_along_with_its_space(model, tmp_path, monkeypatch, capsys):
    run = tmp_path / "a run"
    shutil.copytree(model, run / "best")
    recipe = TrainingArguments(output_dir=str(run), dataset_name="digits", hub_model_id="ann/net", image_size=32)
    recipe.save(run / "recipe.yaml")
    monkeypatch.chdir(tmp_path)
    main(["publish", "a run", "--space", "./my page"])
    assert capsys.readouterr().out == "wrote ./my page: cd 'my page' && python app.py\n"
    main(["publish", str(model), "--space", "./another", "--json"])
    assert json.loads(capsys.readouterr().out) == {"out": "./another"}
    assert (tmp_path / "my page" / "models" / "a run-best" / "model.safetensors").is_file()
    card = SpaceCard.load(tmp_path / "my page" / "README.md").data.to_dict()
    assert card["title"] == "Ask a run"
    assert "models" not in card
    (run / "hub").mkdir()
    sent = {"repo_id": "ann/net", "files": ["model.safetensors"]}
    (run / "hub" / "published.jsonl").write_text(json.dumps(sent) + "\n")
    main(["publish", "a run", "--space", "./other"])
    assert SpaceCard.load(tmp_path / "other" / "README.md").data.to_dict()["models"] == ["ann/net"]
    assert not (tmp_path / "other" / "models").exists()


def test_a_static_space_arrives_and_takes_transformers_js_by_its_exact_version(hub, model, exported, monkeypatch):
    def export_onnx(model, processor, folder, *, fp32, fp16):
        """As the real one did it, which takes seconds."""
        assert (fp32, fp16) == (True, False)
        for name in ("config.json", "preprocessor_config.json", "onnx/model.onnx"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(exported / name, folder / name)

    monkeypatch.setattr(writing, "export_onnx", export_onnx)
    main(["publish", str(model), "--static_space", "ann/ask", "--private", "--fp32"])
    space = hub.repos["spaces/ann/ask"]
    assert (space.sdk, space.private) == ("static", True)
    assert json.loads(space.files["settings.json"])["threshold"] is None
    card = SpaceCard(space.files["README.md"].decode()).data.to_dict()
    assert (card["sdk"], card["app_file"]) == ("static", "index.html")
    page = {"README.md", "index.html", "app.js", "pixels.js", "style.css", "settings.json", ".gitattributes"}
    model_files = {f"model/{name}" for name in ("config.json", "preprocessor_config.json", "onnx/model.onnx")}
    assert set(space.files) == page | model_files
    settings = json.loads(space.files["settings.json"])
    assert settings["transformers_js"].endswith(f"/@huggingface/transformers@{TRANSFORMERS_JS_VERSION}")
    assert (settings["runtime_folder"], settings["dtype"]) == (None, "fp32")


def test_a_space_asks_for_what_this_library_does():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    ours = {
        Requirement(line).name: Requirement(line)
        for line in project["dependencies"] + project["optional-dependencies"]["demo"]
    }
    wanted = [Requirement(line) for line in (PAGES / "gradio_space" / "requirements.txt").read_text().splitlines()]
    assert [(r.name, r.specifier) for r in wanted] == [(r.name, ours[r.name].specifier) for r in wanted]
    assert GRADIO_VERSION in ours["gradio"].specifier


# Examples


def test_examples_tell_nothing_but_their_pixels_and_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x8825] = 6, {2: (52.0, 31.0, 12.0)}  # turned, and a place
    Image.new("RGB", (1200, 800), "red").save(tmp_path / "photo.jpg", exif=exif)
    (path,) = save_examples(folder_examples(tmp_path), tmp_path / "examples")
    with Image.open(path) as example:
        assert example.size == (341, 512)
        assert not example.getexif()


def test_many_examples_are_spread_over_the_folder(tmp_path):
    for number in range(30):
        Image.new("L", (1, 1), number).save(tmp_path / f"{number:02d}.png")
    levels = [picture.getpixel((0, 0))[0] for picture in folder_examples(tmp_path)]
    assert levels == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27]


@pytest.mark.parametrize(("public", "count"), [(True, 0), (False, 3)])
def test_only_at_home_a_runs_own_data_are_examples(public, count, image_folder, tmp_path):
    (tmp_path / "run" / "best").mkdir(parents=True)
    fields = ("dataset_config_name", "image_column_name", "label_column_name", "validation_split_name")
    recipe = {"dataset_name": str(image_folder), **dict.fromkeys(fields)}
    (tmp_path / "run" / "recipe.yaml").write_text(json.dumps(recipe))
    assert len(own_examples(str(tmp_path / "run" / "best"), public)) == count


def test_a_model_of_digits_has_digits_as_examples(tmp_path):
    recipe = {"dataset_name": "digits", "dataset_config_name": None, "validation_split_name": None}
    columns = {"image_column_name": None, "label_column_name": None}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe | columns))
    assert [picture.size for picture in own_examples(str(tmp_path), public=True)] == [(32, 32)] * 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--space", "ask"], "ask is not a Space: give user/ask, or a folder as ./ask"),
        (["--space", "a b/c"], "a b/c is not a Space"),
        (["--space", "TAKEN"], "is there already"),
        (["--space", "NEW", "--examples", "TAKEN"], "no images there"),
        (["--space", "NEW", "--compare", "ann/net"], "all on the Hub, or all in folders"),
        (["--static_space", "NEW", "--compare", "ann/net"], "--compare goes with --space"),
        (["--static_space", "NEW", "--transformers_js", "TAKEN"], "has no package.json: run `npm install @hugging"),
    ],
)
def test_what_makes_no_space_is_said_in_a_line_and_leaves_nothing(arguments, message, model, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    words = {"TAKEN": str(tmp_path / "taken"), "NEW": str(tmp_path / "new")}
    with pytest.raises(SystemExit) as exit_:
        main(["publish", str(model), *(words.get(argument, argument) for argument in arguments)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
