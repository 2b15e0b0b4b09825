"""
The same folder of photos, fine-tuned by this project and by those that people would take instead: accuracy, minutes,
and what has to be typed.

    python -m benchmarks own_photos CIFAR10 WORK --transformers_script run_image_classification.py
        --timm_script train.py --yolo bin/yolo [--only FORM …] [--seeds 3] [--epochs 10] [--photos 150 50 20]

CIFAR10 is a folder of parquet files with a train and a test split. Of its first seven classes, all begin with the same
weights: a ResNet-18 of a quarter of the channels, which train.py makes at the first start; ultralytics, which loads
none of others, trains its own network on the same images for as many epochs. The photos to be learned are of the last
three classes, uneven (`--photos`), and 300 others of these judge. WORK keeps all that was made, and forms that are not
in `--only` keep their results. Minutes are CPU time on one thread.

The two scripts are not part of any package: examples/pytorch/image-classification/run_image_classification.py of
transformers' repository, and train.py of timm's, of the installed versions or close to these. ultralytics wants an
environment of its own; `--yolo` is its command there. Where a script or command is not given, its forms are left out.
"""

import csv
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Image, load_dataset

from .common import argument_parser, keep, print_table


PROJECT = Path(__file__).parents[1]
SIDE = 32  # pixels, those of CIFAR-10
KNOWN = 7  # classes to begin with
JUDGED = 100  # photos of each class
NETWORK = {
    "layer_type": "basic", "depths": [2, 2, 2, 2], "embedding_size": 64, "hidden_sizes": [16, 32, 64, 128],
}  # fmt: skip
# transformers' script asks the Hub for this module of `evaluate`, which takes one that lies here first.
ACCURACY = '''"""Share of right answers."""
import datasets
import evaluate


class Accuracy(evaluate.Metric):
    def _info(self):
        features = datasets.Features({name: datasets.Value("int32") for name in ("predictions", "references")})
        return evaluate.MetricInfo(description=__doc__, citation="", features=features)

    def _compute(self, predictions, references):
        return {"accuracy": sum(a == b for a, b in zip(predictions, references)) / len(references)}
'''


@dataclass(frozen=True)
class Form:
    """
    Attributes:
        command: as it is typed in WORK; {seed}, {work}, {out} and {epochs} are put in.
        top1: of the folder that it wrote.
    """

    command: str
    top1: Callable[[Path], float]


def forms(options: Any) -> dict[str, Form]:
    """Those whose script or command is there."""
    sizes = f"--image_size {SIDE} --eval_crop_ratio 1.0 --interpolation bilinear"
    ours = (
        f"python train.py --config recipes/finetune.yaml --dataset_name photos --model_name_or_path start {sizes} "
        "--num_train_epochs {epochs} --total_train_batch_size 32 --seed {seed} --output_dir {out}"
    )
    frozen = f"{ours} --freeze_stages backbone --auto_augment none --random_crop_scale 1 1 --random_flip 0"
    transformers = (
        "python run_image_classification.py --model_name_or_path start-transformers --ignore_mismatched_sizes "
        "--train_dir photos/train --validation_dir photos/val --do_train --do_eval --remove_unused_columns False "
        "--num_train_epochs {epochs} --per_device_train_batch_size 32 --seed {seed} --output_dir {out} --learning_rate"
    )
    found = {
        "ours, recipes/finetune.yaml": Form(ours, _of_metrics),
        "ours, class_weights: balanced": Form(f"{ours} --class_weights balanced", _of_metrics),
        "ours, freeze_stages: backbone": Form(frozen, _of_metrics),
        "ours, evaluate --probe linear": Form(
            "resnet50 evaluate start --dataset photos --probe linear --output {out}", _of_results
        ),
    }
    if options.transformers_script is not None:
        found["transformers example, rate of its README"] = Form(f"{transformers} 2e-5", _of_trainer)
        found["transformers example, rate 1e-3"] = Form(f"{transformers} 1e-3", _of_trainer)
    if options.timm_script is not None:
        found["timm train.py"] = Form(
            "python timm/train.py --data-dir photos --model local-dir:start --pretrained --num-classes 3 "
            f"--input-size 3 {SIDE} {SIDE} --crop-pct 1 --epochs {{epochs}} --warmup-epochs 0 --batch-size 32 "
            "--lr 0.005 --device cpu --workers 0 --seed {seed} --output {out}",
            _of_summary,
        )
    if options.yolo is not None:
        found["ultralytics classify"] = Form(
            f"./yolo classify train data=photos model=start.pt imgsz={SIDE} epochs={{epochs}} batch=32 "
            "device=cpu workers=0 seed={seed} project={work}/{out} name=run",
            _of_yolo,
        )
    return found


def _of_metrics(out: Path) -> float:
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["val_top1"]


def _of_results(out: Path) -> float:
    (model,) = json.loads((out / "results.json").read_text())["models"].values()
    return model["top1"]["value"]


def _of_trainer(out: Path) -> float:
    return json.loads((out / "eval_results.json").read_text())["eval_accuracy"]


def _of_summary(out: Path) -> float:
    (summary,) = out.rglob("summary.csv")
    return float(_last_row(summary)["eval_top1"]) / 100


def _of_yolo(out: Path) -> float:
    (results,) = out.rglob("results.csv")
    return float(_last_row(results)["metrics/accuracy_top1"])


def _last_row(table: Path) -> dict[str, str]:
    with open(table, newline="") as file:
        return {name.strip(): value for name, value in list(csv.DictReader(file))[-1].items()}


def run(command: str, work: Path, log: Path) -> float:
    """CPU minutes of a command on one thread. What it says goes to a file."""
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "YOLO_CONFIG_DIR": str(work),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{PROJECT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "w") as file:
        status = subprocess.run(
            shlex.split(command), cwd=work, env=environment, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    if status:
        sys.exit(f"{command}\nended with {status}:\n{log.read_text()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 60


def prepare(options: Any) -> None:
    """Photos, the images of the other classes, and the weights to begin with; what is there stays."""
    work = options.work
    (work / "accuracy").mkdir(parents=True, exist_ok=True)
    (work / "accuracy" / "accuracy.py").write_text(ACCURACY)
    links = {"train.py": PROJECT / "train.py", "recipes": PROJECT / "recipes", "yolo": options.yolo}
    links |= {"run_image_classification.py": options.transformers_script, "timm/train.py": options.timm_script}
    for name, target in links.items():
        if target is not None:
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).unlink(missing_ok=True)
            (work / name).symlink_to(target.absolute())
    if not (work / "photos").exists():
        write_images(options, work)
    if not (work / "start").exists():
        network = shlex.quote(json.dumps(NETWORK))
        minutes = run(
            f"python train.py --config recipes/imagenet1k.yaml --dataset_name others --config_overrides {network} "
            f"--image_size {SIDE} --eval_crop_ratio 1.0 --random_crop_scale 0.5 1.0 "
            f"--num_train_epochs {options.start_epochs} --total_train_batch_size 128 --learning_rate 0.1 "
            "--weight_decay 5e-4 --nesterov true --warmup_epochs 0.5 --label_smoothing_factor 0.1 "
            "--mixed_precision bf16 --overwrite_output_dir true --output_dir start-run",
            work,
            work / "start.log",
        )
        top1 = _of_metrics(work / "start-run")
        shutil.copytree(work / "start-run" / "final", work / "start")
        print(f"start: {top1:.1%} of the other classes' images, {minutes:.1f} CPU minutes", flush=True)
    if not (work / "start-transformers").exists():
        run("resnet50 export start start-transformers --format transformers", work, work / "export.log")
    if options.yolo is not None and not (work / "start.pt").exists():
        minutes = run(
            f"./yolo classify train data=others-folders model=yolov8n-cls.yaml imgsz={SIDE} "
            f"epochs={options.start_epochs} batch=128 device=cpu workers=0 project={work}/start-yolo name=run "
            "exist_ok=True",
            work,
            work / "start-yolo.log",
        )
        (results,) = (work / "start-yolo").rglob("results.csv")
        shutil.copyfile(results.with_name("weights") / "last.pt", work / "start.pt")
        top1 = float(_last_row(results)["metrics/accuracy_top1"])
        print(f"start, ultralytics: {top1:.1%}, {minutes:.1f} CPU minutes", flush=True)


def write_images(options: Any, work: Path) -> None:
    """`photos`: few, uneven, as files in class folders. `others`: parquet files, and the same as folders."""
    splits = load_dataset(str(options.cifar10))
    names = splits["train"].features["label"].names
    for split, rows in splits.items():
        labels, side = np.array(rows["label"]), {"train": "train", "test": "val"}[str(split)]
        others = np.flatnonzero(labels < KNOWN)
        others = np.random.default_rng(0).permutation(others)[: options.start_images if side == "train" else 1000]
        known = rows.select(others).cast_column("label", ClassLabel(names=names[:KNOWN]))
        (work / "others").mkdir(exist_ok=True)
        known.to_parquet(work / "others" / f"{'train' if side == 'train' else 'validation'}.parquet")
        _write_folders(known, work / "others-folders" / side)
        counts = options.photos if side == "train" else [JUDGED] * (len(names) - KNOWN)
        chosen = [np.flatnonzero(labels == KNOWN + i)[:count] for i, count in enumerate(counts)]
        _write_folders(rows.select(np.concatenate(chosen)), work / "unfinished" / side)
    (work / "unfinished").rename(work / "photos")


def _write_folders(rows: Dataset, folder: Path) -> None:
    names = rows.features["label"].names
    for number, row in enumerate(rows.cast_column("image", Image(decode=False))):
        place = folder / names[row["label"]]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05d}.png").write_bytes(row["image"]["bytes"])


def kept_before(options: Any) -> dict[str, dict[str, list[float]]]:
    """What earlier calls have measured, by part and form."""
    path = options.out / "own_photos.json"
    if not path.is_file():
        return {}
    results = json.loads(path.read_text())["results"]
    return {part: {form: of["rounds"] for form, of in result["forms"].items()} for part, result in results.items()}


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--transformers_script", type=Path)
    parser.add_argument("--timm_script", type=Path)
    parser.add_argument("--yolo", type=Path)
    parser.add_argument("--only", nargs="+", metavar="FORM", help="beginnings of their names")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--photos", type=int, nargs=3, default=[150, 50, 20])
    parser.add_argument("--start_images", type=int, default=8000)
    parser.add_argument("--start_epochs", type=int, default=5)
    options = parser.parse_args()
    options.work = options.work.absolute()
    prepare(options)
    accuracy, minutes = "top-1 of 300 photos held out", "one run on one core"
    results = kept_before(options)
    for name, form in forms(options).items():
        if options.only and not any(name.startswith(start) for start in options.only):
            continue
        measured: dict[str, list[float]] = {accuracy: [], minutes: []}
        for seed in range(options.seeds):
            out = f"runs/{name.translate(str.maketrans(' /', '--', ',:'))}-{seed}"
            shutil.rmtree(options.work / out, ignore_errors=True)
            (options.work / "runs").mkdir(exist_ok=True)
            command = form.command.format(seed=seed, work=options.work, out=out, epochs=options.epochs)
            measured[minutes].append(run(command, options.work, options.work / f"{out}.log"))
            measured[accuracy].append(100 * form.top1(options.work / out))
            print(f"{name}, seed {seed}: {measured[accuracy][-1]:.1f} %, {measured[minutes][-1]:.2f} min", flush=True)
        for part, values in measured.items():
            results.setdefault(part, {})[name] = values
        store(options, results, {accuracy: "%", minutes: "CPU minutes"})


def store(options: Any, results: dict[str, dict[str, list[float]]], units: dict[str, str]) -> None:
    """All that has been measured so far, with what was typed for it."""
    commands = {name: form.command for name, form in forms(options).items()}
    settings = {key: value for key, value in vars(options).items() if key in ("seeds", "epochs", "photos")}
    settings |= {"start_images": options.start_images, "start_epochs": options.start_epochs}
    settings |= {"typed": {name: {"words": len(c.split()), "command": c} for name, c in commands.items()}}
    base = next(iter(next(iter(results.values()))))
    parts = {part: (units[part], base, values) for part, values in results.items()}
    for part, (unit, _, values) in parts.items():
        print_table(part, unit, values, base)
    keep("own_photos", settings, parts, packages=("evaluate", "ultralytics"), folder=options.out)


if __name__ == "__main__":
    main()
