"""What `resnet50 prepare` says while it works."""

import io

import pytest

from modeling_resnet50.prepare import steps as module
from modeling_resnet50.prepare.steps import Steps, Verified


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by hand."""
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_in_a_log_there_is_a_line_a_minute_with_rate_and_time_left(clock):
    file = io.StringIO()
    with Steps(file).bar("fetch", "x.tar") as on_progress:
        for clock[0], done, remark in ((1, 40e6, ""), (59, 50e6, ""), (60, 100e6, "3 peers"), (125, 290e6, "")):
            on_progress(int(done), 1_290_000_000, remark)
    assert file.getvalue().splitlines() == [
        "fetch    x.tar",
        # 60 MB more than at the start, in 60 s
        "fetch    x.tar: 100.0 MB of 1.3 GB, 1.0 MB/s, 0:19:50 left, 3 peers",
        "fetch    x.tar: 290.0 MB of 1.3 GB, 2.0 MB/s, 0:08:20 left",
    ]


def test_without_a_total_there_is_no_time_left(clock):
    file = io.StringIO()
    with Steps(file).bar("check", "data", "images") as on_progress:
        on_progress(0, None)
        clock[0] = 100
        on_progress(5000, None)
    assert file.getvalue().splitlines()[1] == "check    data: 5,000 images, 50 images/s"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"], ids=repr)
def test_a_note_that_a_power_failure_has_spoilt_is_written_anew(content, tmp_path):
    archive = tmp_path / "a.tar"
    archive.touch()
    (tmp_path / ".verified.json").write_bytes(content)
    verified = Verified(tmp_path)
    assert archive not in verified
    verified.add(archive)
    assert archive in verified
