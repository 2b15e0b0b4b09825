#!/usr/bin/env bash
# One would guess: logging.config.dictConfig leaves streams alone that it did not open, and importing a library leaves none of its own on them.
# True:            absl, which TensorBoard, JAX and others import, keeps the stderr of its import: redirected then, to a log file or by pytest, that file is closed by the next dictConfig, as uvicorn's.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet absl-py==2.5.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import contextlib
import logging
import logging.config
from importlib.metadata import version

print(f"absl-py {version('absl-py')}")
closed = {}
for name in ("logging.StreamHandler", "absl"):
    log = open(f"{name}.log", "w")
    with contextlib.redirect_stderr(log):
        if name == "absl":
            import absl.logging  # noqa: F401 - as a library would
        else:
            kept = logging.StreamHandler()
    log.write("before\n")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
    closed[name] = log.closed
    print(f"stderr led to a file while {name} was set up: after dictConfig that file is {'closed' if log.closed else 'open'}")
assert closed == {"logging.StreamHandler": False, "absl": True}
PYTHON_CODE
