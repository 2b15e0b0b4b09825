"""What a benchmark leaves, on any machine."""

import json

import pytest

from benchmarks import common


@pytest.mark.parametrize("path", ["", None], ids=["no git", "git, but no repository"])
def test_a_record_goes_where_it_is_wanted_and_needs_no_git(path, tmp_path, monkeypatch):
    if path is not None:
        monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    options = common.argument_parser("what it measures").parse_args(["--out", str(tmp_path / "new" / "folder")])
    parts = {"a step": ("ms", "ours", {"ours": [1.0, 2.0, 3.0], "theirs": [2.0, 4.0, 6.0]})}
    (tmp_path / "photos").mkdir()
    settings = {**vars(options), "rounds": 3, "source": str(tmp_path / "photos"), "python": tmp_path / "photos"}
    common.keep("step", settings, parts, folder=options.out)
    record = json.loads((tmp_path / "new" / "folder" / "step.json").read_text())
    assert (record["commit"], record["settings"]) == (
        "unknown commit",
        {"rounds": 3, "source": "photos", "python": "photos"},
    )
    assert record["results"]["a step"]["forms"]["theirs"]["ratio"] == 2.0
    assert (tmp_path / "new" / "folder" / "step.png").stat().st_size > 1000
    assert not (tmp_path / "results").exists()
