#!/usr/bin/env bash
# One would guess: four workers of one Optuna study, each started by the same script with TPESampler(seed=0), try different points: the storage tells them what the others have.
# True:            each draws its first ten trials from its own generator, which is the same: of the first eight trials six are repeats; a RandomSampler repeats to the end, and a study that is continued begins with its old points again.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet optuna==5.0.0
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import math

import optuna
from optuna.samplers import RandomSampler, TPESampler

optuna.logging.set_verbosity(optuna.logging.ERROR)


def opened(sampler, storage):
    return optuna.create_study(storage=storage, study_name="rates", load_if_exists=True, sampler=sampler)


def rates_of(make_samplers, rounds):
    """One worker for each sampler, in turn, on one storage."""
    storage = optuna.storages.InMemoryStorage()
    workers = [opened(make(), storage) for make in make_samplers]
    for _ in range(rounds):
        for worker, trial in [(worker, worker.ask()) for worker in workers]:
            rate = trial.suggest_float("learning_rate", 1e-5, 1.0, log=True)
            worker.tell(trial, (math.log10(rate) + 1) ** 2)
    return [trial.params["learning_rate"] for trial in workers[0].trials], storage


print(f"Optuna {optuna.__version__}: four workers of one study, different points")
seen = {}
for name, make_samplers in {
    "TPESampler(seed=0)": [lambda: TPESampler(seed=0)] * 4,
    "TPESampler(seed=worker)": [lambda n=n: TPESampler(seed=n) for n in range(4)],
    "RandomSampler(seed=0)": [lambda: RandomSampler(seed=0)] * 4,
}.items():
    rates, storage = rates_of(make_samplers, 6)
    seen[name] = len(set(rates[:8])), len(set(rates))
    print(f"{name}: {seen[name][0]} among the first 8 trials, {seen[name][1]} among {len(rates)}")
assert seen["TPESampler(seed=0)"][0] == 2 and seen["TPESampler(seed=worker)"] == (8, 24) and seen["RandomSampler(seed=0)"] == (2, 6)

rates, storage = rates_of([lambda: RandomSampler(seed=0)], 20)
study = opened(RandomSampler(seed=0), storage)
study.optimize(lambda trial: trial.suggest_float("learning_rate", 1e-5, 1.0, log=True), n_trials=20)
print(f"20 random trials and 20 more after a restart: {len({trial.params['learning_rate'] for trial in study.trials})} different points")
assert len(study.trials) == 40 and len({trial.params["learning_rate"] for trial in study.trials}) == 20
PYTHON_CODE
