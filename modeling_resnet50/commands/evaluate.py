"""`resnet50 evaluate`: how good one or several models are, and how sure that is."""

import argparse
import copy
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import in_table, say
from resnet50_recipe.words import counted, says_something

from ..data.sampling import EvaluationSampler
from ..data.sources import HELD_OUT_OF_A_STREAM
from ..data.streaming import StreamedEvaluationSampler, StreamedSplit
from ..evaluation.class_report import AVERAGES, SHOWN_AVERAGES, class_report
from ..evaluation.evaluate import predict
from ..evaluation.metric_modules import compute_metric, load_metric
from ..evaluation.predictions import Predictions
from ..evaluation.results import to_json, versions, write_results
from ..evaluation.statistics import allowed_digits, compare, summarize
from ..hub.classifiers import Classifier, open_classifier, require_one_class_per_image
from ..hub.eval_results import both_in_words, protocol_in_words, write_eval_results
from ..hub.exporting import trained_model_in
from ..hub.model_folder import exif_orientation_of, load_model, renew_card
from ..training.precision import precision_here, remark_on
from ..training.run_folder import is_run
from .abstaining import abstaining, check_abstaining, foreign_images, keep_threshold
from .evaluation_data import class_map_of, load_split, make_loader, open_stream
from .preparation import protocol, set_protocol
from .probing import load_training_images, of_features, probed


_SHOWN = 5  # of the worst classes and confusions
_DETAILS = ("threshold", "foreign", "metrics", "suites")  # in --json as in results.json
_SHARES = {"top-1": "top1", "top-5": "top5"}


def run(options: argparse.Namespace) -> None:
    """Judge models, on all processes."""
    if len(set(options.models)) < len(options.models):
        raise UserError("a model is given twice")
    if options.dataset is None and options.suite is None:
        raise UserError("which images? --dataset SOURCE, or --suite robustness --suite_root DIR")
    if options.suite is not None and options.suite_root is None:
        raise UserError("--suite needs --suite_root, the folder that the test sets lie in")
    if options.train_val_split is not None and not 0 < options.train_val_split < 1:
        raise UserError(f"train_val_split must be between 0 and 1, got {options.train_val_split}")
    if options.train_val_split is not None and options.streaming:
        raise UserError(HELD_OUT_OF_A_STREAM)
    # Everything that can be wrong is found before the work begins.
    check_abstaining(options)
    metrics = {name: load_metric(name) for name in options.metrics}
    accelerator = Accelerator(mixed_precision=precision_here(options.mixed_precision, options.torch_compile))
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("fp16 needs a GPU (accelerate would silently go on in float32): --mixed_precision auto, or no")
    remark = remark_on(accelerator.mixed_precision)
    if remark is not None and accelerator.is_main_process:
        say(remark, file=sys.stderr)
    classifiers = {name: open_classifier(name, options.trust_remote_code, options.dtype) for name in options.models}
    for name, classifier in classifiers.items():
        require_one_class_per_image(name, classifier.model)
        set_protocol(classifier.processor, options)
        if classifier.is_onnx and (options.torch_compile or options.mixed_precision not in (None, "no")):
            raise UserError(f"{name} is an ONNX file, whose precision and compilation are its own")
    dataset = train = None
    if options.dataset is not None:
        with accelerator.main_process_first():
            if options.streaming:
                dataset = open_stream(options)
            else:
                held_out = None if options.train_val_split is None else (options.train_val_split, options.seed)
                dataset = load_split(options, options.split, held_out)
            train = load_training_images(options)
    if train is not None:
        names = train.features["label"].names
        classifiers = {name: of_features(name, classifier, names) for name, classifier in classifiers.items()}

    results = _results_without_models(dataset, options, accelerator)
    if options.suite is not None:
        _judge_by_suites(classifiers, options, accelerator, results)
    if dataset is not None:
        _judge_by_dataset(classifiers, dataset, train, metrics, options, accelerator, results)
    if accelerator.is_main_process:
        _report(results, options)
    accelerator.end_training()


def _judge_by_dataset(
    classifiers: dict[str, Classifier],
    dataset: datasets.Dataset | StreamedSplit,
    train: datasets.Dataset | None,
    metrics: dict[str, Any],
    options: argparse.Namespace,
    accelerator: Accelerator,
    results: dict[str, Any],
) -> None:
    named = {}
    for name, classifier in classifiers.items():
        started_at = time.perf_counter()
        library, *others = ["timm", "transformers"] if options.protocol == "both" else [options.protocol]

        def ask(classifier, images, name=name, library=library):
            return _predict(name, classifier, images, options, accelerator, library)

        named[name] = (
            ask(classifier, dataset) if train is None else probed(options.probe, classifier, train, dataset, ask)
        )
        images_per_second = len(dataset) / (time.perf_counter() - started_at)
        if not np.isfinite(named[name].logits).all():
            raise UserError(f"{name} gives numbers that are not finite: try --mixed_precision no")
        foreign = None if options.foreign is None else ask(classifier, foreign_images(options.foreign, classifier))
        again = [_predict(name, classifier, dataset, options, accelerator, other) for other in others]
        if accelerator.is_main_process:
            resize_size, image_size, interpolation = protocol(classifier.processor)
            results["models"][name] |= {
                "protocol": {
                    "resize_size": resize_size,
                    "image_size": image_size,
                    "interpolation": interpolation,
                    "exif_orientation": exif_orientation_of(classifier.processor),
                    "flip": options.flip,
                    "dtype": classifier.dtype,
                    "library": library,
                },
                "probe": options.probe,
                "num_labels": named[name].logits.shape[1],
                "by_transformers": {**summarize(again[0]), **compare(named[name], again[0])} if again else None,
                "images_per_second": round(images_per_second, 1),
                **summarize(named[name]),
                **class_report(named[name]),
                **abstaining(named[name], foreign, options),
                "metrics": {metric: compute_metric(module, named[name]) for metric, module in metrics.items()},
            }
    if accelerator.is_main_process:
        first, *others = options.models
        results["comparisons"] = [
            {"first": first, "second": other, **compare(named[first], named[other])} for other in others
        ]
        if options.output is not None:
            from ..evaluation.class_files import write_class_files
            from .evaluation_report import write_html_report  # with matplotlib, for those who want the page

            for name, predictions in named.items():
                write_class_files(_folder_of(name, options), predictions, results["models"][name])
            if isinstance(dataset, datasets.Dataset):
                write_html_report(named, classifiers[first], dataset, results, options.output / "report.html")


def _results_without_models(
    dataset: datasets.Dataset | StreamedSplit | None, options: argparse.Namespace, accelerator: Accelerator
) -> dict[str, Any]:
    about_data = None
    if dataset is not None:
        split = options.split or (dataset.split if isinstance(dataset, datasets.Dataset) else None)
        if options.train_val_split is not None:
            split = f"{options.train_val_split} of {options.split or 'train'}, held out with seed {options.seed}"
        about_data = {
            "name": options.dataset,
            "config": options.dataset_config,
            "split": None if split is None else str(split),
            "images": len(dataset),
            "classes": len(dataset.features["label"].names),
        }
    return {
        "dataset": about_data,
        "precision": accelerator.mixed_precision,
        "processes": accelerator.num_processes,
        "models": {name: {"suites": {}} for name in options.models},
        "comparisons": [],
        "suites_absent": {},
        "versions": versions(),
    }


def _predict(
    name: str,
    classifier: Classifier,
    dataset: datasets.Dataset | StreamedSplit,
    options: argparse.Namespace,
    accelerator: Accelerator,
    library: str,
) -> Predictions:
    data_names = dataset.features["label"].names
    class_map, label_names = class_map_of(classifier.label_names, data_names, classifier.codes)
    share = {"process_index": accelerator.process_index, "num_processes": accelerator.num_processes}
    sampler: StreamedEvaluationSampler | EvaluationSampler
    if isinstance(dataset, StreamedSplit):
        sampler = StreamedEvaluationSampler(
            dataset.row_group_sizes, options.batch_size, num_workers=options.num_workers, **share
        )
    else:
        sampler = EvaluationSampler(len(dataset), options.batch_size, **share)
    loader = make_loader(dataset, sampler, classifier.processor, accelerator.device, options, library)
    model = classifier.model.to(accelerator.device).to(memory_format=torch.channels_last)
    if options.torch_compile:
        model.compile()
    shown = accelerator.is_main_process and sys.stderr.isatty()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(in_table(name), total=len(dataset))
        # The other processes are about as far.
        return predict(
            model,
            loader,
            accelerator,
            label_names,
            class_map,
            options.flip,
            lambda images: bar.advance(task, images * accelerator.num_processes),
        )


def _judge_by_suites(
    classifiers: dict[str, Classifier],
    options: argparse.Namespace,
    accelerator: Accelerator,
    results: dict[str, Any],
) -> None:
    from ..evaluation.suites import SUITES, judge_by, open_suites, require_imagenet_classes  # with timm's labels

    for classifier in classifiers.values():  # its own names: predictions have the data's where they differ
        require_imagenet_classes(classifier.label_names)
    names = tuple(SUITES) if options.suite == "robustness" else (options.suite,)
    opened, results["suites_absent"] = open_suites(options.suite_root, names)
    for name, classifier in classifiers.items():

        def judge(dataset: datasets.Dataset, already_cropped: bool, name=name, classifier=classifier) -> Predictions:
            processor = copy.deepcopy(classifier.processor)
            if already_cropped:
                processor.size = {"shortest_edge": processor.crop_size["height"]}
            cropped = dataclasses.replace(classifier, processor=processor)
            library = "timm" if options.protocol == "both" else options.protocol
            return _predict(name, cropped, dataset, options, accelerator, library)

        results["models"][name]["suites"] = judge_by(opened, judge)


class _Speed(ProgressColumn):
    def render(self, task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")


def _report(results: dict[str, Any], options: argparse.Namespace) -> None:
    if options.protocol == "both" and results["dataset"] is not None:
        for name, result in results["models"].items():
            _tell_the_card(Path(name), results["dataset"]["name"], result)
    for name, result in results["models"].items() if options.wanted_precision is not None else ():
        _keep_threshold(Path(name), result, options)
    if options.output is not None:
        write_results(options.output / "results.json", results)
        is_of_models = results["dataset"] is not None and options.probe is None
        for name, result in results["models"].items() if is_of_models else ():
            write_eval_results(_folder_of(name, options), Path(name).name or "model", results["dataset"], result)
    if options.json:
        for name, result in results["models"].items():
            say(to_json(_flat(name, result)))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if results["dataset"] is not None and len(options.models) == 1:
        (result,) = results["models"].values()
        _show_one(console, result)
    elif results["dataset"] is not None:
        _show_several(console, results)
    if options.suite is not None:
        _show_suites(console, results)
    if options.output is not None:
        console.print(f"wrote {in_table(str(options.output))}")


def _keep_threshold(folder: Path, result: dict[str, Any], options: argparse.Namespace) -> None:
    found, given = result["threshold"], (options.image_size, options.crop_ratio, options.interpolation)
    if found["threshold"] is None:
        say(f"{folder}: no confidence makes {found['wanted_precision']:.1%} of the answers right", file=sys.stderr)
    elif options.flip or options.exif_orientation or any(value is not None for value in given):
        say(f"{folder}: the threshold is not kept in its config.json: images were prepared otherwise", file=sys.stderr)
    elif keep_threshold(folder.expanduser(), found, options.dataset):
        say(f"{folder}: its config.json has the threshold, which resnet50 predict goes by", file=sys.stderr)


def _tell_the_card(folder: Path, dataset_name: str, result: dict[str, Any]) -> None:
    """Of a model in a run, which has a card of its own, made of the run's records."""
    folder = folder.resolve()
    if not is_run(folder.parent) or not (folder / "README.md").is_file():
        return
    trained = trained_model_in(folder, folder.parent)
    assert trained is not None
    data = Path(dataset_name).expanduser()
    shown = data.resolve().name if data.exists() else dataset_name  # no path of this machine
    measured = {"dataset": shown, "images": result["images"], "words": both_in_words(result)}
    renew_card(folder, load_model(str(folder))[0], trained, both_protocols=measured)


def _flat(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """The numbers most scripts want, without their intervals."""
    if "top1" not in result:
        return {"model": name, "suites": result["suites"]}
    numbers = {key: result[key]["value"] for key in ("top1", "top5", "loss")}
    numbers |= {key: result[key] for key in AVERAGES}
    others = {key: result[key] for key in ("images", "ece", "temperature", "images_per_second", *_DETAILS)}
    return {"model": name, **numbers, **others}


def _show_one(console: Console, result: dict[str, Any]) -> None:
    images = result["images"]
    if result["probe"] is not None:
        console.print(f"a {result['probe']} probe, fitted on the model's features of the training images:")
    shares = {title: key for title, key in _SHARES.items() if _is_shown(key, result)}
    values = "".join(f"{title} {_percent(result[key], images)}   " for title, key in shares.items())
    console.print(
        f"{values}loss {result['loss']['value']:.4f}   ({counted(images, 'image')}, {protocol_in_words(result)})"
    )
    if images > 1:
        intervals = "".join(f"{title} {_percents(result[key], images)}, " for title, key in shares.items())
        console.print(f"95 % intervals: {intervals}loss {result['loss']['low']:.4f} to {result['loss']['high']:.4f}")
    console.print(
        f"calibration error {result['ece']:.2%}; {result['ece_at_temperature']:.2%} with the logits divided by "
        f"{result['temperature']:.3f}, and a loss of {result['loss_at_temperature']:.4f}"
    )
    console.print(", ".join(f"{title} {result[key]:.3f}" for key, title in SHOWN_AVERAGES.items()))
    console.print(f"the most confident answers: {_coverage_in_words(result['coverage'])}")
    if (found := result["threshold"]) is not None and found["threshold"] is not None:
        console.print(
            f"with a confidence of at least {found['threshold']:.4f}: {found['precision']:.1%} right "
            f"({found['low']:.1%} to {found['high']:.1%}) of {found['coverage']:.1%} of the images"
        )
    if result["foreign"] is not None:
        scores = result["foreign"]["scores"].items()
        told = (f"{score} AUROC {of['auroc']:.3f}, FPR95 {of['fpr95']:.1%}" for score, of in scores)
        console.print(f"against {counted(result['foreign']['images'], 'foreign image')}: {'; '.join(told)}")
    if result["by_transformers"] is not None:
        console.print(f"by the saved image processor, in transformers: {both_in_words(result)}")
    for name, values in result["metrics"].items():
        console.print(f"{in_table(name)}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    console.print(f"{result['images_per_second']:,.1f} images/s\n")

    worst = sorted(result["classes"], key=lambda row: row["top1"])[:_SHOWN]
    table = Table("worst classes", box=None, pad_edge=False)
    table.add_column("top-1", justify="right")
    table.add_column("images", justify="right")
    for row in worst:
        table.add_row(in_table(row["name"]), f"{row['top1']:.1%}", f"{row['images']:,}")
    console.print(table)
    if result["confusions"]:
        table = Table("most often mistaken", "for", box=None, pad_edge=False)
        table.add_column("images", justify="right")
        for row in result["confusions"][:_SHOWN]:
            table.add_row(in_table(row["name"]), in_table(row["predicted_name"]), f"{row['images']:,}")
        console.print()
        console.print(table)


def _coverage_in_words(coverage: list[dict[str, Any]]) -> str:
    """`97.1% right of 90% of the images (confidence from 0.52 on)`, and of a half."""
    rows = (coverage[round(20 * share) - 1] for share in (0.9, 0.5))
    told = ((row["accuracy"], row["coverage"], row["threshold"]) for row in rows)
    return "; ".join("{:.1%} right of {:.0%} of the images (confidence {:.2f} or more)".format(*each) for each in told)


def _show_several(console: Console, results: dict[str, Any]) -> None:
    table = Table("model", box=None, pad_edge=False)
    models = results["models"].values()
    shares = {title: key for title, key in _SHARES.items() if any(_is_shown(key, result) for result in models)}
    for name in (*(f"{title}, 95 %" for title in shares), "loss", "ECE", "images/s", "protocol"):
        table.add_column(name, justify="left" if name == "protocol" else "right", no_wrap=name != "protocol")
    for name, result in results["models"].items():
        images = result["images"]
        table.add_row(
            in_table(name),
            *(f"{_percent(result[key], images)} ({_percents(result[key], images, '–')})" for key in shares.values()),
            f"{result['loss']['value']:.4f}",
            f"{result['ece']:.2%}",
            f"{result['images_per_second']:,.1f}",
            protocol_in_words(result),
        )
    console.print(table)
    console.print()
    for name, result in results["models"].items():
        if result["by_transformers"] is not None:
            console.print(f"{in_table(name)}, by its image processor in transformers: {both_in_words(result)}")
    for row in results["comparisons"]:
        difference = row["top1_difference"]
        value, low, high = (f"{100 * difference[name]:+.2f}" for name in ("value", "low", "high"))
        console.print(
            f"{in_table(row['second'])} − {in_table(row['first'])}: {value} points of top-1 ({low} to {high}); "
            f"right alone on {row['only_second']:,} images, wrong alone on {row['only_first']:,} "
            f"(McNemar p = {row['p_value']:.2g})"
        )


def _show_suites(console: Console, results: dict[str, Any]) -> None:
    """A row for each test set, or part of one, and a column for each model."""
    table = Table("test set", box=None, pad_edge=False)
    for name in results["models"]:
        table.add_column(in_table(name), justify="right")
    lines = {name: dict(_suite_lines(result["suites"])) for name, result in results["models"].items()}
    for title in next(iter(lines.values())):
        table.add_row(in_table(title), *(model_lines[title] for model_lines in lines.values()))
    console.print()
    console.print(table)
    for sentence in results["suites_absent"].values():
        console.print(f"not there, or not whole: {in_table(sentence)}", soft_wrap=True)


def _suite_lines(suites: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from ..evaluation.suites import score_parts

    for suite, scores in suites.items():
        for title, numbers in score_parts(suite, scores):
            for key, name in (("mce", "mCE"), ("top1", "top-1"), ("error", "error")):
                if key in numbers:
                    yield f"{title}, {name}", f"{numbers[key]:.2%}"


def _is_shown(key: str, result: dict[str, Any]) -> bool:
    return key == "top1" or says_something(5, result["num_labels"])


def _percent(interval: dict[str, float], images: int) -> str:
    return f"{interval['value']:.{allowed_digits(interval, images)}%}"


def _percents(interval: dict[str, float], images: int, to: str = "% to ") -> str:
    digits = allowed_digits(interval, images)
    return f"{100 * interval['low']:.{digits}f}{to}{100 * interval['high']:.{digits}f}%"


def _folder_of(name: str, options: argparse.Namespace) -> Path:
    """Within `--output`, for the files about one model."""
    return options.output if len(options.models) == 1 else options.output / _file_name(name)


def _file_name(name: str) -> str:
    """A model's name as that of a folder."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-.") or "model"
