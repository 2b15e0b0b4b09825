"""The examples for schedulers: what can be checked of them without one."""

import re
import shlex
import subprocess

import pytest
import yaml
from shared import PROJECT

from resnet50_recipe.recipe_file import parse_recipe


EXAMPLES = PROJECT / "examples"


@pytest.mark.parametrize("name", ["slurm.sbatch", "hf_jobs.sh"])
def test_shell_scripts_pass_shellcheck(name):
    result = subprocess.run(["shellcheck", EXAMPLES / name], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def training_command(name: str) -> list[str]:
    """The words after train.py, as the shell or Kubernetes would pass them."""
    text = (EXAMPLES / name).read_text()
    if name.endswith(".yaml"):
        (container,) = yaml.safe_load(text)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
        words = container["command"] + container["args"]
    else:
        words = shlex.split(
            re.search(r"train\.py[^'\"]*", text.replace("\\\n", " "))[0].replace("$model", "user/name")
        )
    return words[words.index("train.py") + 1 :]


@pytest.mark.parametrize("name", ["slurm.sbatch", "hf_jobs.sh", "kubernetes.yaml"])
def test_what_they_ask_of_train_py_is_a_recipe(name, monkeypatch):
    monkeypatch.chdir(PROJECT)
    recipe = parse_recipe(training_command(name))
    assert recipe.mixed_precision == "fp16"
    assert recipe.checkpoint_every_minutes == 30
    assert recipe.local_batch_size(16) == 16


def test_volumes_of_the_kubernetes_job_are_those_that_are_mounted():
    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    (worker,) = job["spec"]["pytorchReplicaSpecs"].values()
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert (job["apiVersion"], job["kind"], container["name"]) == ("kubeflow.org/v1", "PyTorchJob", "pytorch")
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert gpus == int(job["spec"]["nprocPerNode"])
