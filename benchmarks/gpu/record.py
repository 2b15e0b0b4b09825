"""What a part of the kit found, on disk as soon as it is known: a run that is cut leaves what was done."""

import json
import time
from pathlib import Path
from typing import Any


class Record:
    """
    One JSON file, written anew at each finding.

    Args:
        path: of the file; findings that it already holds stay, unless they are found again.
    """

    def __init__(self, path: Path):
        self.path = path
        self.findings: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self._begun_at = time.monotonic()

    def put(self, name: str, finding: Any) -> None:
        """Keep a finding, which JSON can hold, and show it with the seconds since the part began."""
        self.findings[name] = finding
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.findings, indent=1, ensure_ascii=False) + "\n")
        unfinished.replace(self.path)
        print(
            f"[{time.monotonic() - self._begun_at:5.1f} s] {name}: {json.dumps(finding, ensure_ascii=False)}",
            flush=True,
        )
