"""The profile of some steps: what it writes, that it adds up, and that it changes nothing."""

import json

import pytest
import torch
from safetensors.torch import load_file
from shared import tiny_arguments, write_image

from modeling_resnet50.training.checkpoint import Progress
from modeling_resnet50.training.profiling import PARTS, ProfiledSteps, summarize
from modeling_resnet50.training.run_folder import RunFolder
from resnet50_recipe.errors import UserError
from resnet50_recipe.training_arguments import TrainingArguments


def event(name, start, stop, category="user_annotation"):
    return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": stop - start}


def shares_in_percent(events):
    return {part: round(100 * share, 6) for part, share in summarize(events)["shares"].items()}


STEP = [  # of 100 µs: 20 for the data, 30 forward, 40 backward, 5 for the optimizer
    event("step 7", 1000, 1100),
    event("enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", 1000, 1020),
    event("forward", 1020, 1050),
    event("backward", 1050, 1090),
    event("optimizer", 1092, 1097),
]


def test_each_moment_of_a_step_counts_once():
    outside = [event("forward", 900, 990), event("backward", 1100, 1200), {"ph": "M", "name": "process_name"}]
    nested = [event("Optimizer.step#SGD.step", 1093, 1096), event("aten::add", 1060, 1070, "cpu_op")]
    assert shares_in_percent([*STEP, *outside, *nested]) == {
        "data wait": 20, "forward": 30, "backward": 40, "optimizer": 5, "communication": 0, "other": 5,
    }  # fmt: skip


def test_communication_is_what_the_computation_does_not_hide():
    operations = [event("aten::convolution_backward", 1050, 1074, "cpu_op")]
    by_gloo = [event("gloo:all_reduce", 1070, 1086, "cpu_op"), event("gloo:all_reduce", 1097, 1100, "cpu_op")]
    # Alone from 1074 to 1086, in the backward pass, and in the last 3 µs.
    expected = {"data wait": 20, "forward": 30, "backward": 28, "optimizer": 5, "communication": 15, "other": 2}
    assert shares_in_percent([*STEP, *operations, *by_gloo]) == expected


def test_on_a_gpu_kernels_hide_communication_and_launches_do_not():
    launches = [event("aten::convolution_backward", 1050, 1090, "cpu_op")]
    marks_of_the_gpu = [event("backward", 1051, 1190, "gpu_user_annotation")]
    kernels = [event("sm90_xmma_dgrad", 1050, 1080, "kernel"), event("ncclDevKernel_AllReduce", 1070, 1088, "kernel")]
    expected = {"data wait": 20, "forward": 30, "backward": 32, "optimizer": 5, "communication": 8, "other": 5}
    assert shares_in_percent([*STEP, *launches, *marks_of_the_gpu, *kernels]) == expected


def test_the_sentence_names_the_largest_part_first_and_what_to_do_about_slow_data():
    in_words = summarize([*STEP, event("step 8", 1100, 1150)])["in_words"]
    assert in_words.startswith(
        "steps 7 to 8, 7.5e-05 s each while profiled: 37% other, 27% backward, 20% forward and loss, "
        "13% waiting for data, 3% optimizer, 0% communication"
    )
    assert "dataloader_num_workers" not in in_words
    assert "dataloader_num_workers" in summarize(STEP)["in_words"]


# In a run


@pytest.fixture
def image_folder_of_two(tmp_path):
    for split, count in (("train", 12), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            for number in range(count):
                write_image(tmp_path / "images" / split / name / f"{number}.jpg", 100 * label + number, size=(20, 18))
    return tmp_path / "images"


def test_a_profiled_run_ends_with_the_same_weights_and_with_a_trace_that_adds_up(
    image_folder_of_two, tmp_path, train, capsys
):
    accumulation = {"total_train_batch_size": 4, "gradient_accumulation_steps": 2}
    settings = {"num_train_epochs": 1, "mixup_alpha": 0.4, **accumulation}
    train(tiny_arguments(image_folder_of_two, tmp_path / "plain", **settings))
    capsys.readouterr()
    train(tiny_arguments(image_folder_of_two, tmp_path / "run", **settings, profile_steps="2-4"))
    plain, profiled = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("plain", "run"))
    assert all(torch.equal(value, profiled[name]) for name, value in plain.items())
    assert not (tmp_path / "plain" / "profile").exists()

    folder = tmp_path / "run" / "profile"
    events = [e for e in json.loads((folder / "trace.json").read_text())["traceEvents"] if e.get("ph") == "X"]
    marked = {
        name: [e["dur"] for e in events if e["name"].startswith(name) and e["cat"] == "user_annotation"]
        for name in ("step ", "enumerate(DataLoader)", "forward", "backward", "optimizer")
    }
    # Two forward passes a step, and one turn of the optimizer.
    assert {name: len(durations) for name, durations in marked.items()} == {
        "step ": 3, "enumerate(DataLoader)": 6, "forward": 6, "backward": 6, "optimizer": 3,
    }  # fmt: skip
    convolutions = [e["ts"] for e in events if e["name"] == "aten::conv2d"]
    forwards = [(e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "forward"]
    assert convolutions
    assert all(any(start <= moment <= stop for start, stop in forwards) for moment in convolutions)

    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["shares"]) == list(PARTS)
    assert sum(summary["shares"].values()) == pytest.approx(1)
    total = sum(marked["step "])
    for part, name in (("forward", "forward"), ("backward", "backward"), ("data wait", "enumerate(DataLoader)")):
        assert summary["shares"][part] == pytest.approx(sum(marked[name]) / total, rel=1e-3)
    assert summary["seconds_per_step"] == pytest.approx(total / 3e6)
    assert summary["steps"] == 3
    printed = capsys.readouterr().out
    assert summary["in_words"] in printed
    assert f"profile: {folder}" in printed


class Loop:
    """What `ProfiledSteps` needs of a run, without one: steps that only count."""

    device, is_main_process = torch.device("cpu"), True

    def __init__(self, folder, profile_steps):
        recipe = TrainingArguments(output_dir=str(folder), profile_steps=profile_steps)
        self.progress, self.said = Progress(), []
        self.profiler = ProfiledSteps(recipe, RunFolder(recipe), self, self.progress, self.said.append)

    def run(self, steps, stopped_by=None):
        with self.profiler:
            self.profiler.begin()
            for _ in range(steps):
                for name in ("forward", "backward", "optimizer"):
                    with self.profiler.part(name):
                        pass
                self.progress.step += 1
                self.profiler.step()
            if stopped_by:
                raise stopped_by


def test_steps_that_are_never_reached_are_said_so_at_the_end(tmp_path):
    loop = Loop(tmp_path, "10-20")
    loop.run(9)
    assert loop.said == ["profile_steps 10-20 was never reached: this start of the run went from step 1 to 9"]
    assert not (tmp_path / "profile").exists()


def test_a_stop_in_the_middle_leaves_the_steps_that_were_done(tmp_path):
    loop = Loop(tmp_path, "2-9")
    with pytest.raises(KeyboardInterrupt):
        loop.run(4, stopped_by=KeyboardInterrupt())
    assert json.loads((tmp_path / "profile" / "summary.json").read_text())["steps"] == 3
    assert "cut short after step 4" in loop.said[1]


def test_a_profile_that_cannot_be_written_does_not_end_the_run(tmp_path):
    (tmp_path / "profile").write_text("in the way")
    loop = Loop(tmp_path, "1-2")
    loop.run(4)
    assert loop.progress.step == 4
    assert loop.said[0].startswith("the profile was not written: ")


def test_a_run_that_is_resumed_within_the_steps_profiles_the_rest(tmp_path):
    loop = Loop(tmp_path, "2-6")
    loop.progress.step = 4
    loop.run(3)
    assert "steps 5 to 6" in loop.said[0]


def test_only_the_main_process_writes(tmp_path):
    other = type("Other", (Loop,), {"is_main_process": False})
    loop = other(tmp_path, "1-2")
    loop.run(3)
    assert loop.said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("steps", ["10", "20-10", "0-5", "a-b", "5-", "-5", "1-2-3", "1.5-3"])
def test_steps_that_make_no_sense_are_refused_with_the_recipe(steps):
    with pytest.raises(UserError, match=r"profile_steps must be two steps, the first and the last, as in 10-20, got"):
        TrainingArguments(profile_steps=steps)


def test_a_profile_is_neither_a_change_of_the_recipe_nor_published():
    recipe = TrainingArguments(profile_steps="10-20")
    assert recipe.changes_since({"profile_steps": "1-2"}) == []
    assert recipe.changes_since({}) == []
    assert "profile_steps" not in recipe.public_dict()
