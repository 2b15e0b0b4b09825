"""Other runtimes give the same logits, and what they would do in silence is refused or held to."""

import importlib.util
import json
import logging
import sys

import onnx
import onnxruntime
import pytest
import torch
from executorch.runtime import Runtime
from shared import TINY, as_if_trained, write_image

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from modeling_resnet50.hub.runtimes import import_openvino
from resnet50_cli import main


openvino = import_openvino()

VARIANTS = {
    "basic": {},
    "grey, blur": {"num_channels": 1, "blur_pool": True},
    "RGBA, ResNet-D": {"num_channels": 4, "stem_type": "deep", "avg_down": True},
}
F32 = {"INFERENCE_PRECISION_HINT": "f32"}


def save(folder, num_channels=3, **fields):
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate("abcde")), "label2id": {name: i for i, name in enumerate("abcde")}}
    config = ResNet50Config(**{**TINY, **names, "num_channels": num_channels, **fields})
    model = as_if_trained(ResNet50ForImageClassification(config))
    processor = image_processor(
        Preprocessing.by_ratio(64, 1.0, "bilinear", [0.5] * num_channels, [0.25] * num_channels)
    )
    save_model_and_processor(folder, model, processor)
    return model


def export(kind, folder):
    before = logging.root.manager.disable
    main(["export", str(folder / "model"), str(folder / kind), "--format", kind])
    assert logging.root.manager.disable == before
    return folder / kind


@torch.no_grad()
def logits_of(model, pixel_values):
    return model(pixel_values).logits


def test_openvino_tells_nobody():
    """It has telemetry of its own, which would send word of each import and each conversion to a server."""
    of_conversions = sys.modules["openvino.tools.ovc.convert_impl"]
    assert of_conversions.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    assert "openvino_telemetry" not in sys.modules
    assert importlib.util.find_spec("openvino_telemetry")  # it is there, and who wants it may import it


@pytest.mark.parametrize("variant", VARIANTS)
def test_openvino_gives_the_same_logits_at_any_batch_and_size(variant, exported, tmp_path):
    if variant == "basic":
        model, out = exported.model, exported("openvino")
    else:
        model, out = save(tmp_path / "model", **VARIANTS[variant]), export("openvino", tmp_path)
    compiled = openvino.compile_model(out / "openvino_model.xml", "CPU", F32)
    for shape in ((1, 64, 64), (5, 64, 64), (2, 96, 80)):
        pixel_values = torch.randn(shape[0], model.config.num_channels, *shape[1:])
        found = torch.from_numpy(compiled({"pixel_values": pixel_values.numpy()})["logits"])
        torch.testing.assert_close(found, logits_of(model, pixel_values), rtol=1e-4, atol=1e-5)


def test_openvinos_weights_are_halved_only_if_asked_for(exported):
    sizes = []
    for options in ([], ["--fp16"]):
        out = exported("openvino", *options)
        kinds = {
            str(op.get_output_element_type(0))
            for op in openvino.Core().read_model(out / "openvino_model.xml").get_ordered_ops()
            if op.get_type_name() == "Constant" and len(op.get_output_shape(0)) == 4
        }
        sizes.append((out / "openvino_model.bin").stat().st_size)
        assert kinds == {"<Type: 'float16'>" if options else "<Type: 'float32'>"}
    assert sizes[1] < 0.6 * sizes[0]


def test_executorch_gives_the_same_logits_and_refuses_pixels_in_another_order_of_memory(exported):
    network = Runtime.get().load_program(exported("executorch") / "model.pte").load_method("forward")
    pixel_values = torch.randn(3, 64, 64)
    (found,) = network.execute([pixel_values])
    torch.testing.assert_close(found, logits_of(exported.model, pixel_values[None])[0], rtol=1e-4, atol=1e-5)
    picture = torch.randn(64, 64, 3)  # as Pillow has it
    with pytest.raises(RuntimeError, match="should be contiguous"):
        network.execute([picture.permute(2, 0, 1)])
    with pytest.raises(RuntimeError):  # another size, or a batch
        network.execute([torch.randn(3, 96, 96)])
    with pytest.raises(RuntimeError):
        network.execute([torch.randn(1, 3, 64, 64)])


def test_core_ml_has_the_inputs_the_names_and_the_precision_that_it_says(exported):
    import coremltools  # whose import takes seconds, in each process that collects tests

    sizes = []
    for out in (exported("coreml"), exported("coreml", "--fp16")):
        spec = coremltools.models.MLModel(str(out / "model.mlpackage"), skip_model_load=True).get_spec()
        ((name, shape),) = [(i.name, list(i.type.multiArrayType.shape)) for i in spec.description.input]
        assert (name, shape) == ("pixel_values", [1, 3, 64, 64])
        assert [o.name for o in spec.description.output] == ["logits"]
        about = spec.description.metadata.userDefined
        assert json.loads(about["id2label"])["4"] == "4"
        assert json.loads(about["preprocessing"])["crop_size"]["height"] == 64
        sizes.append(sum(path.stat().st_size for path in out.rglob("weight.bin")))
    assert sizes[0] > 0.9 * 4 * sum(p.numel() for p in exported.model.parameters() if p.ndim == 4)
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.parametrize("kind", ["openvino", "executorch", "coreml"])
def test_each_folder_says_how_images_are_prepared(kind, exported):
    assert json.loads((exported(kind) / "preprocessor_config.json").read_text())["image_std"] == [0.25] * 3
    assert json.loads((exported(kind) / "config.json").read_text())["id2label"]["2"] == "2"


@pytest.mark.parametrize(
    ("kind", "module", "what"),
    [
        ("openvino", "openvino", "OpenVINO needs more packages"),
        ("executorch", "executorch", "ExecuTorch needs more packages"),
        ("coreml", "coremltools", "Core ML needs more packages"),
    ],
)
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(kind, module, what, tmp_path, capsys, monkeypatch):
    save(tmp_path / "model")
    for name in {module, *(name for name in sys.modules if name.startswith(f"{module}."))}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as exit_:
        export(kind, tmp_path)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert what in error
    assert f"pip install 'modeling-resnet50[{kind}]'" in error
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# Measured side by side


def test_benchmark_measures_every_runtime_and_says_how_far_apart_they_answer(tmp_path, capsys):
    """Of another architecture than the other tests, with four channels."""
    fields = {"stem_type": "deep", "avg_down": True, "blur_pool": True, "layer_type": "basic"}
    save(tmp_path / "model", num_channels=4, **fields)
    arguments = ["--batch_sizes", "1,3", "--rounds", "3", "--threads", "1", "--device", "cpu"]
    main(["benchmark", str(tmp_path / "model"), *arguments, "--output", str(tmp_path / "speed"), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "speed/benchmark.json").read_text())
    assert (result["threads"], result["rounds"]) == (1, 3)
    assert {"torch", "transformers", "modeling-resnet50"} <= result["versions"].keys()
    rows = result["results"]
    assert {row["batch_size"] for row in rows} == {1, 3}
    kinds = [(row["backend"], row["precision"]) for row in rows if row["batch_size"] == 1]
    assert kinds == [
        ("PyTorch", "float32"),
        ("torch.export", "float32"),
        ("ONNX Runtime", "float32"),
        ("ONNX Runtime", "float16"),
        ("OpenVINO", "float32"),
        ("ExecuTorch, XNNPACK", "float32"),
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["images_per_second"] == pytest.approx(1000 * row["batch_size"] / row["p50_ms"], rel=0.02)
        assert row["logits_difference"] < (1e-2 if row["precision"] == "float16" else 1e-4)
        assert row["image_size"] == 64
    assert (tmp_path / "speed/benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_benchmark_runs_exported_files_by_their_own_runtime(exported, capsys):
    files = [exported("pt2"), exported("onnx"), exported("openvino") / "openvino_model.xml", exported("executorch")]
    sources = [str(file) for file in files]
    main(["benchmark", *sources, "--batch_sizes", "2", "--rounds", "1", "--image_size", "64", "--device", "cpu"])
    shown = capsys.readouterr().out
    for name in ("torch.export", "ONNX Runtime", "OpenVINO", "ExecuTorch, XNNPACK"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["NOTHING"], "nothing"),
        (["MODEL", "--batch_sizes", "1,x"], "numbers above 0 with commas between them"),
        (["MODEL", "--batch_sizes", "0"], "numbers above 0 with commas between them"),
        (["MODEL", "--rounds", "0"], "--rounds must be at least 1"),
        (["MODEL", "--threads", "0"], "--threads must be at least 1"),
        (["MODEL", "--device", "cuda:7"], "there is no such device here"),
        (["MODEL", "--device", "toaster"], "there is no such device here"),
        (["DAMAGED.onnx"], "is damaged or not an ONNX file"),
        (["DAMAGED.pt2"], "is damaged, or no program that this PyTorch can open"),
        (["DAMAGED.xml"], "is damaged, or no model of OpenVINO"),
        (["DAMAGED.pte"], "is damaged, or no program of ExecuTorch"),
        (["APPLE"], "only Apple's systems have"),
    ],
)
def test_what_cannot_be_measured_is_a_line(arguments, message, tmp_path, capsys):
    save(tmp_path / "model")
    (tmp_path / "apple/model.mlpackage").mkdir(parents=True)
    for kind in ("onnx", "pt2", "xml", "pte"):
        (tmp_path / f"damaged.{kind}").write_bytes(b"nonsense")
    places = {"MODEL": "model", "NOTHING": "nothing", "APPLE": "apple"}
    places |= {f"DAMAGED.{kind}": f"damaged.{kind}" for kind in ("onnx", "pt2", "xml", "pte")}
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", *(str(tmp_path / places[word]) if word in places else word for word in arguments)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("operator", "domain", "opset"), [("Relu", "", 99), ("Elsewhere", "", 23), ("Own", "mine", 1)]
)
def test_operators_that_the_runtime_lacks_are_a_line_with_its_version(operator, domain, opset, tmp_path, capsys):
    value = onnx.helper.make_tensor_value_info
    taken, given = (value(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("pixel_values", "logits"))
    node = onnx.helper.make_node(operator, ["pixel_values"], ["logits"], domain=domain)
    graph = onnx.helper.make_graph([node], "graph", [taken], [given])
    imports = [onnx.helper.make_opsetid(domain, opset)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=9), tmp_path / "model.onnx")
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", str(tmp_path / "model.onnx"), "--device", "cpu"])
    assert exit_.value.code == 2
    assert f"asks for what ONNX Runtime {onnxruntime.__version__} lacks" in capsys.readouterr().err


def test_a_size_that_a_file_does_not_take_is_a_line(exported, capsys):
    executorch = str(exported("executorch"))
    with pytest.raises(SystemExit) as exit_:
        main(["benchmark", executorch, "--image_size", "96", "--batch_sizes", "1", "--device", "cpu"])
    assert exit_.value.code == 2
    assert "does not take images of 1×3×96×96" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["openvino", "executorch", "coreml"])
def test_who_asks_a_model_is_told_what_another_librarys_export_is(kind, exported, capsys):
    """A folder of it, and a file: XML is no web page, nor is what has 0x3C for its first byte."""
    folder = exported(kind)
    runtime = {"openvino": "OpenVINO", "executorch": "ExecuTorch", "coreml": "Core ML"}[kind]
    for source in [folder, *folder.glob("*.xml"), *folder.glob("*.pte")]:
        with pytest.raises(SystemExit):
            main(["predict", str(source), "photo.jpg"])
        assert f"{source} is an export for {runtime}" in capsys.readouterr().err


def test_benchmark_of_a_program_that_prepares_photos_itself_says_which_to_give(exported, capsys):
    program = exported("pt2", "--with_preprocessing")
    with pytest.raises(SystemExit):
        main(["benchmark", str(program)])
    assert f"{program} takes photos of any size and prepares them itself" in capsys.readouterr().err


def test_a_file_of_weights_alone_is_asked_with_a_note_on_how_images_are_prepared(exported, tmp_path, capsys):
    """In silence, those of a model of other images would be resized and normalised as ImageNet's."""
    write_image(tmp_path / "photo.jpg", seed=0)
    weights = exported("pth")
    main(["predict", str(weights), str(tmp_path / "photo.jpg")])
    assert f"note: {weights}: image preparation: not stated there, so ImageNet's usual one" in capsys.readouterr().err
