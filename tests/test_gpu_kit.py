"""The parts of `python -m benchmarks gpu` that judge, on a CPU, with toys."""

import json
import sys

import pytest
from conftest import PROJECT


sys.path.insert(0, str(PROJECT))  # `benchmarks` is not installed

from benchmarks.gpu import right, smoke
from benchmarks.gpu.claims import Claims, examine_part
from benchmarks.gpu.record import Record


def test_right_examines_all_its_claims(tmp_path):
    code = right.main(["--out", str(tmp_path), "--dry_run"])
    found = json.loads((tmp_path / "right.json").read_text())
    assert {name: finding for name, finding in found.items() if finding["holds"] is False} == {}
    assert code == 0
    only_recorded = {name for name, finding in found.items() if finding["holds"] is None}
    assert only_recorded == {"the same run twice"}
    assert len(found) == 20
    assert found["killed and resumed"]["resumed"].startswith("resumed from /killed/checkpoints/epoch-0001-batch-")
    assert found["overflow by the images"]["counted"] == 1
    assert found["digits bf16"]["seconds"]["training"] > 0


def test_smoke_examines_all_its_claims(tmp_path):
    code = smoke.main(["--out", str(tmp_path), "--dry_run"])
    found = json.loads((tmp_path / "smoke.json").read_text())
    assert {name: finding["holds"] for name, finding in found.items()} == {
        "by torchrun": None, "synchronized BatchNorm": True, "restarted in DDP": True,
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


def test_what_was_found_before_a_part_is_cut_is_kept(tmp_path):
    def examine_all(claims: Claims) -> None:
        claims.claim("first", lambda: {"holds": True})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        examine_part("part", None, 1.0, examine_all, ["--out", str(tmp_path), "--dry_run"])
    assert json.loads((tmp_path / "part.json").read_text()) == {"first": {"holds": True}}
    Record(tmp_path / "part.json").put("second", {"holds": False})
    assert json.loads((tmp_path / "part.json").read_text()) == {"first": {"holds": True}, "second": {"holds": False}}
