#!/usr/bin/env bash
# One would guess: an infinite loss that was logged to MLflow comes back as infinity, as NaN comes back as NaN.
# True:            its database store, the default one, holds 1.797e308: finite, so isinf finds nothing and it can be averaged; NaN stays NaN.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1 sqlparse==0.6.1 pandas==3.1.1 numpy==2.4.6 cryptography==50.0.2 setuptools==84.2.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import logging
import math
import os

os.environ.update(GIT_PYTHON_REFRESH="quiet", MLFLOW_DISABLE_TELEMETRY="true")
import mlflow

logging.disable(logging.INFO)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
logged = [1.5, math.nan, math.inf, -math.inf]
with mlflow.start_run() as run:
    for step, value in enumerate(logged):
        mlflow.log_metric("loss", value, step=step)
history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
read = [metric.value for metric in sorted(history, key=lambda metric: metric.step)]
print(f"MLflow {mlflow.__version__}, SQLite: logged {logged}, read {read}")
assert read[0] == 1.5 and math.isnan(read[1]) and all(math.isfinite(value) and abs(value) > 1e308 for value in read[2:])
PYTHON_CODE
