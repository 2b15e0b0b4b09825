"""The scaling model against published measurements and hand calculations; what `resnet50 plan --nodes` makes of it."""

import json
import math
import re

import pytest
from PIL import Image
from shared import PROJECT

from modeling_resnet50.plan import KNOWN_DATA, make_plan
from modeling_resnet50.scaling import Cluster, gradient_bytes, limits, scaled, strong_scaling, weak_scaling
from resnet50_cli import main
from resnet50_recipe.training_arguments import TrainingArguments


A100 = Cluster(2470.0)

# Images per second of one GPU; Gbit/s of a node of 8; images a GPU; images per second of n GPUs over those of 8.
PUBLISHED = {
    # 29 hours for 90 epochs on 8 P100 are 138 images/s a GPU; about 90 % from 8 to 256.
    "Goyal et al. 2017, Caffe2": (138.0, 50.0, 32, {256: 32 * 0.90}),
    # Oneflow-Inc/DLPerf, V100, InfiniBand, medians of several runs.
    "DLPerf, pytorch/examples, fp32": (354.40, 100.0, 128, {16: 5307.21 / 2719.07, 32: 10632.33 / 2719.07}),
    "DLPerf, NVIDIA PyTorch, fp32": (367.29, 100.0, 128, {16: 5716.79 / 2887.65, 32: 10917.09 / 2887.65}),
    "DLPerf, NVIDIA PyTorch, mixed": (802.9, 100.0, 256, {16: 11991.94 / 6154.66, 32: 22551.16 / 6154.66}),
}


@pytest.fixture(scope="module")
def plan():
    return make_plan(TrainingArguments(total_train_batch_size=2048), KNOWN_DATA["ILSVRC/imagenet-1k"], 8)


@pytest.mark.parametrize("name", PUBLISHED)
def test_speedups_over_one_node_are_the_published_ones_within_five_percent(name, plan):
    rate, network, local, speedups = PUBLISHED[name]
    cluster = Cluster(rate, 8, network)
    one_node = scaled(plan, cluster, 8, 8 * local).images_per_second
    for num_gpus, speedup in speedups.items():
        ours = scaled(plan, cluster, num_gpus, num_gpus * local).images_per_second / one_node
        assert ours == pytest.approx(speedup, rel=0.05), num_gpus


def test_eight_a100_do_what_nvidia_measured(plan):
    assert scaled(plan, A100, 8, 8 * 256).images_per_second == pytest.approx(16_621, rel=0.01)


def test_gradients_travel_as_long_as_a_hand_calculation_says(plan):
    assert gradient_bytes(plan) == 4 * 25_557_032
    slow = Cluster(2470.0, 1, 10.0)  # no NVLink in it
    # Each of 4 nodes sends and receives 2 × 3/4 of the gradients at 80 % of 10 Gbit/s, in 5 buckets of 2 × 2 messages.
    expected = 1.5 * 102_228_128 / 1e9 + 5 * 4 * 20e-6
    point = scaled(plan, slow, 4, 4 * 256)
    assert point.traffic == pytest.approx(expected, rel=1e-6)
    computing = 256 / 2470 / 0.84
    assert point.losses["network"] == pytest.approx(expected - computing * 2 / 3, rel=1e-6)
    assert scaled(plan, slow, 1, 256).traffic == 0


def test_a_fast_network_leaves_only_the_last_bucket_to_wait_for(plan):
    point = scaled(plan, A100, 64, 64 * 256)
    assert point.losses["network"] == pytest.approx(point.traffic * 25e6 / gradient_bytes(plan))


def test_the_parts_of_a_step_add_up_and_one_gpu_loses_nothing(plan):
    for point in strong_scaling(plan, A100) + weak_scaling(plan, A100):
        assert min(point.losses.values()) >= 0
        assert point.seconds == pytest.approx(point.ideal + sum(point.losses.values()))
        assert point.images_per_second == pytest.approx(point.efficiency * point.num_gpus * 2470)
    assert strong_scaling(plan, A100)[0].efficiency == 1


def test_strong_scaling_keeps_the_recipes_batch_and_ends_at_one_image_a_gpu(plan):
    points = strong_scaling(make_plan(TrainingArguments(gradient_accumulation_steps=2), plan.data), A100)
    assert {point.total_batch_size for point in points} == {256}
    assert [point.num_gpus for point in points] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert points[-1].limit == "launching"
    assert points[-1].seconds > 2 * 26e-3  # each pass has kernels to launch


def test_larger_images_take_as_much_longer(plan):
    double = make_plan(TrainingArguments(image_size=448, total_train_batch_size=2048), plan.data)
    assert plan.image_cost == 1
    assert double.image_cost == pytest.approx(4, rel=0.01)
    assert scaled(double, A100, 1, 2048).seconds == pytest.approx(2048 * double.image_cost / 2470)


@pytest.mark.parametrize(
    ("cluster", "sentence"),
    [
        (A100, r"From 64 GPUs on, 32 images are computed sooner than their kernels are launched"),
        (A100, r"From 256 GPUs on, BatchNorm sees 8 images at a time: sync_batch_norm: true"),
        (A100, r"it is 16,384 at 64, and up to 8,192 warm-up .+ lars or lamb"),
        (A100, r"From 128 GPUs on, that batch of 32,768 costs accuracy"),
        (A100, r"A network of 400 Gbit/s a node does not bite"),
        (Cluster(2470.0, 8, 10.0), r"recipe's batch, a network of 10 Gbit/s a node bites from 16 GPUs on"),
        (
            Cluster(2470.0, 8, 10.0),
            r"grows, a network of 10 Gbit/s a node bites from 16 GPUs on: .+ fp16_compress",
        ),
        (Cluster(9000.0), r"Decoding takes up to 14\.3 cores a GPU, .+ more than the usual 12: pack the data"),
        (A100, r"From 64 GPUs on, all nodes together read more than 10 GB/s: .+141 GB, or 40 GB packed"),
        (A100, r"205 MB every 10 epochs in the background, .+ from 128 GPUs on, an epoch takes 5\.2 s"),
    ],
)
def test_where_limits_bite_is_said_with_what_to_do(cluster, sentence, plan):
    found = limits(plan, cluster)
    assert any(re.search(sentence, text) for text in found), found


def test_the_limits_are_where_the_model_has_them(plan):
    """Decoding and reading by hand: 2,470 images/s are 3.93 times 629; 64 GPUs read 110 kB each."""
    point = scaled(plan, A100, 64, 64 * 256)
    assert point.images_per_second * 110e3 > 10e9 > scaled(plan, A100, 32, 32 * 256).images_per_second * 110e3
    assert "Decoding takes up to 3.9 cores a GPU, 1.8 if the data are packed" in limits(plan, A100)
    synchronised = make_plan(TrainingArguments(total_train_batch_size=2048, sync_batch_norm=True), plan.data, 8)
    assert not any("BatchNorm" in text for text in limits(synchronised, A100))


def test_the_command_shows_both_ways_to_scale_and_draws_them(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["plan", str(PROJECT / "recipes" / "nvidia_90.yaml"), "--nodes", "3", "--network", "100"])
    output = capsys.readouterr().out
    assert re.match(r"3 × 8 A100, 100 Gbit/s a node: [\d,]+ images/s, \d\d% of as many single GPUs; 90 epochs", output)
    rows = re.findall(r"^ *([\d,]+) +([\d,]+) .+ (?:GPU|node|launching|network|stragglers)$", output, re.MULTILINE)
    rows = [tuple(int(number.replace(",", "")) for number in row) for row in rows]
    counts = [1, 2, 4, 8, 16, 24, 32, 64, 128, 256, 512, 1024]
    assert rows == [(n, 2048) for n in counts] + [(n, 256 * n) for n in counts]
    assert "! total_train_batch_size 2048 does not divide over 24" in output
    with Image.open(tmp_path / "reports" / "plan-nvidia_90-nodes.png") as picture:
        assert picture.format == "PNG"


def test_for_scripts_it_says_the_same_in_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["plan", str(PROJECT / "recipes" / "nvidia_90.yaml"), "--nodes", "3", "--network", "100", "--json"])
    told = json.loads(capsys.readouterr().out)
    planned = told["planned"]
    assert (planned["num_gpus"], planned["num_nodes"], told["network"]) == (24, 3, 100)
    assert planned["images_per_second"] == pytest.approx(2048 / planned["seconds"])
    assert told["hours"] == pytest.approx(90 * 625 * planned["seconds"] / 3600)  # 1,281,167 images are 625.6 batches
    assert planned == told["strong_scaling"][5]
    assert [point["total_batch_size"] for point in told["weak_scaling"]][-1] == 256 * 1024
    assert told["complaints"][0].startswith("total_train_batch_size 2048 does not divide over 24")
    assert told["limits"]
    assert told["picture"] is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes", "0"], "--nodes must be at least 1"),
        (["--nodes", "2", "--gpus_per_node", "0"], "--gpus_per_node must be at least 1"),
        (["--nodes", "2", "--network", "0"], "--network must be positive"),
        (["--nodes", "2", "--network", "nan"], "--network must be positive"),
        (["--nodes", "2", "--num_processes", "16"], "give --nodes or --num_processes"),
        (["--nodes", "64"], "512 GPUs × 1 accumulation steps are more than the 256 images of a step"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit:
        main(["plan", str(PROJECT / "recipes" / "imagenet1k.yaml"), *arguments])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_stragglers_are_what_the_slowest_of_normal_times_is(plan):
    """The largest of n standard normal numbers is below sqrt(2 ln n) on average, and near it."""
    point = scaled(plan, A100, 256, 256 * 256)
    computing = 256 / 2470 / 0.84
    deviations = math.sqrt(2 * math.log(256)) - math.sqrt(2 * math.log(8))
    assert point.losses["stragglers"] == pytest.approx(0.06 * computing * deviations)


def test_the_documentation_shows_these_figures(plan):
    page = (PROJECT / "docs" / "multi-node.md").read_text()
    for rate, network, local, speedups in PUBLISHED.values():
        cluster = Cluster(rate, 8, network)
        one_node = scaled(plan, cluster, 8, 8 * local).images_per_second
        for num_gpus, speedup in speedups.items():
            ours = scaled(plan, cluster, num_gpus, num_gpus * local).images_per_second / one_node
            assert f"| {num_gpus} | {speedup:.2f} | {ours:.2f} |" in page
