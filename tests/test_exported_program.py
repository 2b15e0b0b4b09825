"""torch.export, torch.compile and reduced precision: the same function, or one within a stated tolerance."""

import pytest
import torch
from shared import TINY, as_if_trained
from transformers import AutoModelForImageClassification

from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
from modeling_resnet50.data.preprocessing import Preprocessing
from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor
from resnet50_cli import main


VARIANTS = {
    "plain": {},
    "ResNet-D, blur": {"stem_type": "deep", "avg_down": True, "blur_pool": True},
    "basic, silu, catavgmax": {"layer_type": "basic", "hidden_act": "silu", "global_pool": "catavgmax"},
}


@pytest.fixture(autouse=True)
def _nothing_compiled_before():
    """All variants share their forwards' code, and Dynamo gives up on code that it has compiled eight times."""
    torch._dynamo.reset()


def variant(name):
    return as_if_trained(ResNet50ForImageClassification(ResNet50Config(**TINY, **VARIANTS[name], num_labels=5)))


@pytest.mark.parametrize("name", VARIANTS)
def test_exported_program_gives_the_same_logits_at_any_batch_and_size(tmp_path, name):
    model = variant(name)
    processor = image_processor(Preprocessing.by_ratio(64, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    save_model_and_processor(tmp_path / "model", model, processor)
    main(["export", str(tmp_path / "model"), str(tmp_path / "model.pt2"), "--format", "pt2"])
    program = torch.export.load(tmp_path / "model.pt2").module()
    for shape in ((1, 3, 64, 64), (5, 3, 64, 64), (2, 3, 96, 80)):
        pixel_values = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(program(pixel_values), model(pixel_values).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.long
def test_program_compiles_ahead_of_time(exported, tmp_path):
    torch._inductor.aoti_compile_and_package(
        torch.export.load(exported("pt2")), package_path=str(tmp_path / "compiled.pt2")
    )
    compiled = torch._inductor.aoti_load_package(str(tmp_path / "compiled.pt2"))
    for batch in (1, 5):
        pixel_values = torch.randn(batch, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(
                compiled(pixel_values), exported.model(pixel_values).logits, rtol=1e-5, atol=1e-5
            )


@pytest.mark.parametrize(
    ("name", "training"), [("plain", False), ("ResNet-D, blur", True), ("basic, silu, catavgmax", False)]
)
def test_torch_compile_finds_no_graph_break(name, training):
    model = variant(name).train(training)
    # no code is generated: what breaks graphs is the tracing
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    pixel_values, labels = torch.randn(2, 3, 64, 64), torch.tensor([0, 4])
    output = compiled(pixel_values, labels=labels)
    if not training:  # in training, running statistics have moved on
        expected = model(pixel_values, labels=labels)
        torch.testing.assert_close(output.logits, expected.logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(output.loss, expected.loss, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        (lambda model: model.to(memory_format=torch.channels_last), 1e-5),
        (lambda model: model.half(), 1e-2),
        (lambda model: model.bfloat16(), 5e-2),
    ],
    ids=["channels last", "float16", "bfloat16"],
)
def test_reduced_precision_stays_within_its_share_of_the_largest_logit(change, tolerance):
    torch.manual_seed(0)
    model = as_if_trained(ResNet50ForImageClassification(ResNet50Config(num_labels=20)))
    pixel_values = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = model(pixel_values).logits
        changed = change(model)
        logits = changed(pixel_values.to(changed.dtype)).logits.float()
    assert (logits - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_auto_class_loads_in_reduced_precision(tmp_path, dtype):
    model = variant("plain")
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=dtype)
    assert loaded.dtype == dtype
    assert torch.equal(loaded.fc.weight, model.fc.weight.to(dtype))
