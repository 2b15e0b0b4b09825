"""The parts of `python -m benchmarks gpu` that judge, on a CPU, with toys."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from shared import PROJECT, write_image


sys.path.insert(0, str(PROJECT))  # `benchmarks` is not installed

from benchmarks.gpu import fast, fed, learns, right, smoke
from benchmarks.gpu.claims import Claims, Finding, Task, examine_part
from benchmarks.gpu.processes import OutOfTimeError
from benchmarks.gpu.record import Record
from benchmarks.gpu.stem import Case, Convolution, repeated


def test_right_examines_steps_overflow_and_logits(tmp_path):
    def examine_all(claims: Claims) -> None:
        right.examine_in_this_process(right.Kit(claims))

    assert examine_part("right", None, 100.0, examine_all, ["--out", str(tmp_path), "--dry_run"]) == 0
    found = json.loads((tmp_path / "right.json").read_text())
    assert {name: finding["holds"] for name, finding in found.items()} == {
        **dict.fromkeys(found, True), "gradient of the stem's weights": None,
    }  # fmt: skip
    assert len(found) == 9
    assert found["overflow by the images"]["counted"] == 1


@pytest.mark.long
def test_right_examines_all_its_claims(tmp_path):
    code = right.main(["--out", str(tmp_path), "--dry_run"])
    found = json.loads((tmp_path / "right.json").read_text())
    assert {name: finding for name, finding in found.items() if finding["holds"] is False} == {}
    assert code == 0
    only_recorded = {name for name, finding in found.items() if finding["holds"] is None}
    assert only_recorded == {"the same run twice", "gradient of the stem's weights"}
    assert len(found) == 24
    assert found["gradient of the stem's weights"]["differ"] == "none"
    assert found["killed and resumed"]["resumed"].startswith("resumed from /killed/checkpoints/epoch-0001-batch-")
    assert found["overflow by the images"]["counted"] == 1
    assert found["digits bf16"]["seconds"]["training"] > 0


@pytest.mark.long
def test_smoke_examines_all_its_claims(tmp_path):
    code = smoke.main(["--out", str(tmp_path), "--dry_run"])
    found = json.loads((tmp_path / "smoke.json").read_text())
    assert {name: finding["holds"] for name, finding in found.items()} == {
        "by torchrun": None, "synchronized BatchNorm": True, "restarted in DDP": True, "two processes": True,
    }, found  # fmt: skip
    assert code == 0
    assert [start["hooks"] for start in found["restarted in DDP"]["each start"]] == [["fp16_compress_hook"]] * 2


def test_a_claim_that_does_not_hold_or_cannot_be_examined_stops_no_other(tmp_path):
    def examine_all(claims: Claims) -> None:
        claims.claim("wrong", lambda: {"holds": False, "top1": 0.1})
        claims.claim("broken", lambda: {"holds": 1 / 0})
        claims.claim("recorded", lambda: {"holds": None, "seconds": 3})
        claims.claim("right", lambda: {"holds": True})

    assert examine_part("part", None, 1.0, examine_all, ["--out", str(tmp_path), "--dry_run"]) == 1
    found = json.loads((tmp_path / "part.json").read_text())
    assert found["wrong"] == {"holds": False, "top1": 0.1}
    assert found["broken"]["error"] == "ZeroDivisionError: division by zero"
    assert [finding["holds"] for finding in found.values()] == [False, False, None, True]


def test_what_has_no_time_is_not_wrong(tmp_path):
    def examine_all(claims: Claims) -> None:
        def run_out_of_time() -> Finding:
            claims._ends_at = 0.0
            raise OutOfTimeError("not done within 1 s")

        claims.claim_side_by_side([Task("late", lambda: {"holds": False}), Task("cut", run_out_of_time)][::-1], 1)

    assert examine_part("part", None, 1.0, examine_all, ["--out", str(tmp_path), "--dry_run"]) == 0
    found = json.loads((tmp_path / "part.json").read_text())
    assert [(finding["holds"], finding["why"]) for finding in found.values()] == [(None, "no time was left")] * 2


def test_claims_wait_for_what_they_need_and_never_too_many_run(tmp_path):
    order, running, most = [], set(), []

    def task(name: str, *needs: str) -> Task:
        def examine() -> Finding:
            order.append(name)
            running.add(name)
            most.append(len(running))
            running.remove(name)
            return {"holds": 1 / 0 if name == "broken" else True}

        return Task(name, examine, frozenset(needs))

    def examine_all(claims: Claims) -> None:
        tasks = [task("second", "first"), task("first"), task("never", "broken"), task("nor this", "never")]
        claims.claim_side_by_side([*tasks, task("broken"), task("third", "second")], 2)

    assert examine_part("part", None, 1.0, examine_all, ["--out", str(tmp_path), "--dry_run"]) == 1
    assert set(order) == {"first", "second", "third", "broken"}
    assert order.index("first") < order.index("second") < order.index("third")
    assert max(most) <= 2
    found = json.loads((tmp_path / "part.json").read_text())
    assert found["never"] == {"holds": None, "why": "without ['broken']"}
    assert found["nor this"] == {"holds": None, "why": "without ['never']"}
    assert found["broken"]["holds"] is False


def test_repetitions_are_compared_bit_by_bit():
    results = [torch.tensor([value, float("nan")]) for value in (1.0, 2.0, 2.0, 1.0)]
    assert repeated([results[0], results[3]]) == {"alike": "AA"}
    assert repeated(results) == {"alike": "ABBA", "difference": "not finite"}
    assert repeated([torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])]) == {"alike": "AB", "difference": 0.1}


def test_padding_the_images_does_not_change_the_gradient_of_the_stems_weights():
    images, returning = (torch.randn(2, n, s, s, dtype=torch.float64) for n, s in ((3, 16), (64, 8)))
    convolution = Convolution(torch.device("cpu"), 2, 16)
    convolution.images, convolution.returning = images, returning
    weights = torch.zeros(64, 3, 7, 7, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.conv2d(images, weights, stride=2, padding=3).backward(returning)
    for channels in (3, 4, 8):
        case = Case(torch.float64, torch.channels_last, channels, False)
        torch.testing.assert_close(convolution.weight_gradient(case), weights.grad)


def test_what_was_found_before_a_part_is_cut_is_kept(tmp_path):
    def examine_all(claims: Claims) -> None:
        claims.claim("first", lambda: {"holds": True})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine_part("part", None, 1.0, examine_all, ["--out", str(tmp_path), "--dry_run"])
    assert json.loads((tmp_path / "part.json").read_text()) == {"first": {"holds": True}}
    Record(tmp_path / "part.json").put("second", {"holds": False})
    assert json.loads((tmp_path / "part.json").read_text()) == {"first": {"holds": True}, "second": {"holds": False}}


@pytest.mark.long
def test_the_parts_that_measure_run_on_a_cpu(tmp_path, monkeypatch):
    """At toy size: a form of each kind takes its steps, train.py is fed from files, and a recipe learns."""
    photo = tmp_path / "photo.jpg"
    write_image(photo, 1, (300, 280))
    (tmp_path / "imagenet_samples").mkdir()
    rows = pa.table({"image": [{"bytes": photo.read_bytes(), "path": None}] * 4})
    pq.write_table(rows, tmp_path / "imagenet_samples" / "photos.parquet")
    given = ["--out", str(tmp_path / "out"), "--dry_run"]
    for part, more in (
        (fast, ["--seconds", "600"]),
        (fed, ["--data", str(tmp_path)]),
        (learns, ["--data", str(tmp_path)]),
    ):
        monkeypatch.setattr(sys, "argv", ["part", *given, *more])
        part.main()
    found = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("fast", "fed", "learns")}
    assert all(found["fast"][form]["images_per_second"] for form in ("ours", "timm", "ours, lamb and ema"))
    assert found["fed"]["packed, 224 pixels"]["intervals"] == found["fed"]["raw, 224 pixels"]["intervals"] == 2
    assert (found["learns"]["ended"], len(found["learns"]["rows"])) == ("finished", 1)
