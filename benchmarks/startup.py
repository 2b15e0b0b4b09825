"""
How long until something happens: CPU seconds from the shell to each program's first own line, or first step.

    python -m benchmarks startup [--against CHECKOUT] [--rounds 5] [--only NAME …] [--dry_run]

Each command is started as a user starts it, in this checkout and in the other one in turns, and ended when a line of
its own appears, or a file. What counts is user and system time of the process, its threads and its children: seconds
on a clock say as much about what else the machine does. The table has the least of all rounds, since what disturbs
adds. `--dry_run` shows the commands, and runs none.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil


PROJECT = Path(__file__).parents[1]
_PATIENCE = 300  # seconds


@dataclass(frozen=True)
class Start:
    """
    Attributes:
        arguments: of Python. MODEL, IMAGE and OUT stand for a small model, a picture and a folder that is not there.
        until: a regular expression for the line that counts; or what is to appear in OUT.
    """

    arguments: str
    until: str
    is_file: bool = False


STARTS = {
    # What no program that trains here can do without
    "torch, transformers, datasets and timm alone": Start(
        "-c \"import torch, transformers.modeling_utils, datasets, timm; print('imported')\"", "imported"
    ),
    "import modeling_resnet50": Start("-c \"import modeling_resnet50; print('imported')\"", "imported"),
    "resnet50 predict": Start("-m resnet50_cli predict MODEL IMAGE", r"image\.png"),
    "resnet50 evaluate": Start("-m resnet50_cli evaluate MODEL --dataset digits", "360 images"),
    "resnet50 export": Start("-m resnet50_cli export MODEL OUT", "wrote"),
    "resnet50 inspect": Start("-m resnet50_cli inspect MODEL --output OUT", "parameters"),
    "resnet50 plan": Start("-m resnet50_cli plan CHECKOUT/recipes/imagenet1k.yaml --picture OUT", "1,281,167"),
    "train.py --help": Start("CHECKOUT/train.py --help", "--dataset_name"),
    "train.py, a mistake": Start(
        "CHECKOUT/train.py --config CHECKOUT/recipes/digits.yaml --learning_rat 1", "learning_rate"
    ),
    "train.py, first step": Start(
        "CHECKOUT/train.py --config CHECKOUT/recipes/digits.yaml --checkpoint_every_steps 1 --output_dir OUT",
        "checkpoints/*",
        is_file=True,
    ),
    "accelerate launch train.py, first step": Start(
        "-m accelerate.commands.launch CHECKOUT/train.py --config CHECKOUT/recipes/digits.yaml "
        "--checkpoint_every_steps 1 --output_dir OUT",
        "checkpoints/*",
        is_file=True,
    ),
}


def command_of(start: Start, checkout: Path, scratch: Path, out: Path) -> list[str]:
    """A command line in one checkout, with what stands for paths filled in."""
    places = {"CHECKOUT": checkout, "MODEL": scratch / "model", "IMAGE": scratch / "image.png", "OUT": out}
    words = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', start.arguments)]
    return [sys.executable, *(re.sub("|".join(places), lambda found: str(places[found[0]]), word) for word in words)]


def cpu_seconds(start: Start, checkout: Path, scratch: Path) -> float:
    """
    Until what counts is there; then the command is ended.

    Raises:
        RuntimeError: it ended before that, or took too long.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        out = Path(folder) / "out"
        environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["OMP_WAIT_POLICY"] = "passive"  # threads that wait by spinning would count
        with (Path(folder) / "said").open("w+") as said:
            process = psutil.Popen(
                command_of(start, checkout, scratch, out), cwd=folder, env=environment, stdout=said,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                return _time_until(lambda: _is_there(start, out, Path(said.name)), process)
            except RuntimeError as error:
                raise RuntimeError(f"{start.arguments}: {error}:\n{Path(said.name).read_text()[-2000:]}") from error
            finally:
                _end(process)


def _is_there(start: Start, out: Path, said: Path) -> bool:
    return any(out.glob(start.until)) if start.is_file else re.search(start.until, said.read_text()) is not None


def _time_until(is_there: Callable[[], bool], process: psutil.Popen) -> float:
    began_at, seconds = time.monotonic(), 0.0
    while time.monotonic() < began_at + _PATIENCE:
        ended = process.status() == psutil.STATUS_ZOMBIE  # its times can still be read
        seconds = max(seconds, _tree_seconds(process))
        if is_there():
            return seconds
        if ended:
            raise RuntimeError("it ended too early")
        time.sleep(0.005)
    raise RuntimeError(f"nothing after {_PATIENCE} s")


def _tree_seconds(process: psutil.Process) -> float:
    """User and system time of a process and all below it, those that have ended and been waited for included."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += sum(each.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def _end(process: psutil.Popen) -> None:
    for each in [*process.children(recursive=True), process]:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def write_inputs(folder: Path) -> None:
    """A picture, and a model for digits that is opened and run in no time."""
    from PIL import Image

    from modeling_resnet50 import ResNet50Config, ResNet50ForImageClassification
    from modeling_resnet50.data.preprocessing import Preprocessing
    from modeling_resnet50.hub.model_folder import image_processor, save_model_and_processor

    Image.new("RGB", (40, 32), "orange").save(folder / "image.png")
    config = ResNet50Config(depths=[1, 1], hidden_sizes=[8, 16], embedding_size=8, num_labels=10)
    processor = image_processor(Preprocessing.by_ratio(32, 1.0, "bilinear", [0.5] * 3, [0.5] * 3))
    save_model_and_processor(folder / "model", ResNet50ForImageClassification(config), processor)


def measure(names: list[str], checkouts: dict[str, Path], rounds: int, scratch: Path) -> dict[str, dict[str, float]]:
    """The least CPU seconds of each start in each checkout, which are also printed as a Markdown table."""
    least: dict[str, dict[str, float]] = {}
    print("| CPU seconds |" + "".join(f" {checkout} |" for checkout in checkouts) + " ratio |")
    print("| --- |" + " ---: |" * (len(checkouts) + 1))
    for name in names:
        start = STARTS[name]
        for path in checkouts.values():
            cpu_seconds(start, path, scratch)  # brings files into memory, and writes bytecode
        turns = [(checkout, path) for _ in range(rounds) for checkout, path in checkouts.items()]
        seconds = [(checkout, cpu_seconds(start, path, scratch)) for checkout, path in turns]
        least[name] = {which: min(value for one, value in seconds if one == which) for which in checkouts}
        ratio = f"{least[name]['here'] / least[name]['there']:.2f}" if "there" in checkouts else "–"
        print(
            f"| `{name}` |" + "".join(f" {value:.1f} |" for value in least[name].values()) + f" {ratio} |", flush=True
        )
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, in turns with this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=STARTS, default=list(STARTS), metavar="NAME")
    parser.add_argument("--dry_run", action="store_true", help="show the commands, and run none")
    options = parser.parse_args()
    checkouts = {"here": PROJECT} | ({"there": options.against.resolve()} if options.against else {})
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.dry_run:
            for name in options.only:
                print(f"{name}: {' '.join(command_of(STARTS[name], PROJECT, scratch, scratch / 'out'))}")
            return
        write_inputs(scratch)
        measure(options.only, checkouts, options.rounds, scratch)


if __name__ == "__main__":
    main()
