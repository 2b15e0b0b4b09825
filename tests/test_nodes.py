"""Two hosts, as the network sees them: Linux network namespaces with a cable between them, and real sockets."""

import copy
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist
import yaml
from accelerate import Accelerator
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import launch_command_parser
from fork_server import start_python
from shared import PROJECT, UNDRAWN, tiny_arguments
from test_training import assert_same_weights, parameters_of

from modeling_resnet50.training import supervision
from modeling_resnet50.training.checkpoint import Progress
from modeling_resnet50.training.run_folder import RunFolder
from modeling_resnet50.training.supervision import Supervisor
from resnet50_recipe.recipe_file import parse_recipe
from resnet50_recipe.training_arguments import TrainingArguments


CONFIG = "accelerate_config_nodes.yaml"


def missing() -> str | None:
    """What two hosts need and this machine lacks."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "no `ip` (iproute2)"
    return None


def run_ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def hosts():
    """Names and addresses of two hosts that reach each other and nothing else."""
    if (reason := missing()) and os.environ.get("CI") != "true":
        pytest.skip(reason)
    names = {f"resnet50-{os.getpid()}-{number}": f"10.77.0.{number + 1}" for number in range(2)}
    try:
        for name in names:
            run_ip("netns", "add", name)
        one, other = names
        run_ip("link", "add", "eth0", "netns", one, "type", "veth", "peer", "name", "eth0", "netns", other)
        for name, address in names.items():
            run_ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for interface in ("eth0", "lo"):
                run_ip("-n", name, "link", "set", interface, "up")
        yield names
    finally:
        for name in set(names) & set(run_ip("netns", "list").split()):
            for pid in run_ip("netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            run_ip("netns", "delete", name)


def launch(host: str, machine: list[str], arguments: list[str]):
    """`accelerate launch` on one host, which has a name of its own too."""
    launcher = ["-m", "accelerate.commands.launch", "--config_file", CONFIG, *machine, UNDRAWN, *arguments]
    # Gloo would look up its address by the host's name, which nobody knows here.
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "eth0"}
    return start_python(["tests/on_host.py", host, *launcher], environment, PROJECT)


def test_two_hosts_end_with_the_weights_of_one_process_that_accumulates_the_same_halves(
    hosts, image_folder, tmp_path, train
):
    arguments = tiny_arguments(image_folder, tmp_path / "two")
    machine = ["--num_machines", "2", "--num_processes", "2", "--main_process_ip", next(iter(hosts.values()))]
    processes = [launch(host, [*machine, "--machine_rank", str(rank)], arguments) for rank, host in enumerate(hosts)]
    train(tiny_arguments(image_folder, tmp_path / "one", gradient_accumulation_steps=2))  # meanwhile
    outputs = ["".join(process.communicate(timeout=280)) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "2 processes on cpu" in outputs[0]
    assert "run folder" not in outputs[1]  # only the first host's process speaks
    (session,) = yaml.safe_load((tmp_path / "two" / "environment.json").read_text())
    assert (session["num_machines"], session["num_processes"]) == (2, 2)
    assert yaml.safe_load((tmp_path / "two" / "status.json").read_text())["host"] == next(iter(hosts))
    assert_same_weights(
        parameters_of(tmp_path / "two" / "final"), parameters_of(tmp_path / "one" / "final"), rtol=1e-4, atol=1e-6
    )


# The machine's configuration


@pytest.mark.parametrize("name", ["accelerate_config.yaml", CONFIG])
def test_accelerate_reads_the_configuration_as_it_is_meant(name):
    config = load_config_from_file(str(PROJECT / name))
    assert isinstance(config, ClusterConfig)
    assert config.distributed_type == "MULTI_GPU"
    assert config.num_processes == 8 * config.num_machines
    assert config.mixed_precision == "fp16"
    assert (config.same_network, config.rdzv_backend) == (
        True,
        "static",
    )  # ranks and node 0's address are given
    settings = yaml.safe_load((PROJECT / name).read_text())
    assert not set(settings) & set(TrainingArguments.__dataclass_fields__) - {"mixed_precision"}


def test_the_command_in_its_header_is_accelerates_and_a_recipes(monkeypatch):
    monkeypatch.chdir(PROJECT)
    header = (PROJECT / CONFIG).read_text().replace("\\\n#", "")
    command = re.search(r"accelerate launch (.+)", header)[1].replace("RANK", "1").replace("ADDRESS", "10.0.0.1")
    options = launch_command_parser().parse_args(shlex.split(command))
    assert (options.machine_rank, options.num_machines, options.num_processes) == (1, 2, 16)
    assert (options.main_process_ip, options.config_file) == ("10.0.0.1", CONFIG)
    assert options.training_script == "train.py"
    assert parse_recipe(options.training_script_args).local_batch_size(16) == 16


# When another host is gone


@pytest.fixture
def supervisor(tmp_path):
    """Of one of two processes; the other one is "there"."""
    recipe = TrainingArguments(output_dir=str(tmp_path / "run"), watchdog_minutes=None)
    run = RunFolder(recipe)
    run.path.mkdir()
    supervisor = Supervisor(Accelerator(cpu=True), run, recipe, Progress())
    supervisor.num_processes, supervisor._store = 2, dist.HashStore()
    supervisor._hosts = ["here, pid 1", "there, pid 2"]
    return supervisor


def test_a_connection_that_breaks_is_one_line_that_names_the_other_host(supervisor, capsys):
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.77.0.2]:18121."
    supervisor.run_begins()
    with pytest.raises(SystemExit) as exit, supervisor:
        raise RuntimeError(gloo)
    assert exit.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("[rank 0] error: the connection to rank 1 (there, pid 2) broke")
    assert "Connection closed by peer [10.77.0.2]" in line
    status = supervisor.run.status()
    assert (status["status"], status["reason"]) == ("failed", f"rank 0: {line.removeprefix('[rank 0] error: ')}")


def test_other_errors_keep_their_traceback(supervisor):
    with pytest.raises(RuntimeError, match="shapes"), supervisor:
        raise RuntimeError("shapes do not fit")


def test_a_first_host_that_does_not_answer_does_not_hold_up_the_watchdog(supervisor, monkeypatch):
    silence = threading.Event()
    monkeypatch.setattr(supervision, "_SECONDS_TO_ANSWER", 0.01)
    monkeypatch.setattr(supervisor, "_all_beats", silence.wait)
    accusation = supervisor._accusation(interval=0.01)
    silence.set()
    assert accusation.endswith("the machine of rank 0 (here, pid 1) does not answer: it or the network is down")


@pytest.fixture
def both(supervisor):
    """It, and the other one, which hangs: it has done a batch less."""
    other = copy.copy(supervisor)
    other.rank, supervisor._batches, other._batches = 1, 4, 3
    for each in (supervisor, other):
        each._beat()
    return supervisor, other


def test_who_look_for_the_one_that_hangs_at_the_same_time_are_alive_to_each_other(both, monkeypatch):
    in_step = threading.Barrier(2)
    monkeypatch.setattr("time.sleep", lambda seconds: in_step.wait(60))
    with ThreadPoolExecutor() as threads:
        accusations = list(threads.map(lambda each: each._accusation(interval=0.01), both))
    assert [accusation.partition(": ")[2] for accusation in accusations] == [
        "rank 1 (there, pid 2) hangs after 3 batches, and the others wait"
    ] * 2


def test_who_has_ended_itself_has_not_died(both, monkeypatch):
    """The first to notice is the one that hangs; who notices next finds it gone."""
    supervisor, other = both
    monkeypatch.setattr("time.sleep", lambda seconds: supervisor._beat())
    first = other._accusation(interval=0.01)
    assert first.endswith(": rank 1 (there, pid 2) hangs after 3 batches, and the others wait")
    assert supervisor._accusation(interval=0.01) == first


def test_who_falls_silent_has_died(both):
    supervisor, _ = both
    assert "rank 1 (there, pid 2) died or is frozen" in supervisor._accusation(interval=0.0)
