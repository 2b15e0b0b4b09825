"""`resnet50 evaluate`: how good one or several models are, and how sure that is."""

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from resnet50_recipe.errors import UserError, needs_packages
from resnet50_recipe.terminal import in_table, say
from resnet50_recipe.words import counted

from ..data.sources import HELD_OUT_OF_A_STREAM
from ..data.streaming import StreamedSplit, evaluation_sampler
from ..evaluation.evaluate import predict
from ..evaluation.predictions import Predictions
from ..evaluation.probe import LinearProbe, fit_probe
from ..evaluation.results import versions
from ..hub.classifiers import Classifier, open_classifier, require_one_class_per_image
from ..training.precision import precision_here, remark_on
from .abstaining import Abstaining, foreign_images
from .evaluation_data import class_map_of, load_split, make_loader, open_stream
from .preparation import Preparation
from .probing import Fitting, of_features, save_probe, training_images
from .typed_options import Changes, Loading, Source, typed


Library = Literal["timm", "transformers"]


@dataclass(frozen=True)
class Evaluation:
    """
    What is to be evaluated, and how: the options of the command line, by their names.

    Raises:
        UserError: they make no sense together.
    """

    models: list[str]
    source: Source
    loading: Loading
    changes: Changes
    protocol: Literal["timm", "transformers", "both"]
    streaming: bool
    train_val_split: float | None
    seed: int
    suite: str | None
    suite_root: Path | None
    abstaining: Abstaining
    probe: Literal["knn", "linear"] | None
    metrics: list[str]
    flip: bool
    mixed_precision: str | None
    torch_compile: bool
    dtype: Literal["float32", "auto"]
    trust_remote_code: bool
    output: Path | None
    json: bool

    def __post_init__(self):
        if len(set(self.models)) < len(self.models):
            raise UserError("a model is given twice")
        if self.source.dataset is None and self.suite is None:
            raise UserError("which images? --dataset SOURCE, or --suite robustness --suite_root DIR")
        if self.suite is not None and self.suite_root is None:
            raise UserError("--suite needs --suite_root, the folder that the test sets lie in")
        if self.train_val_split is not None and not 0 < self.train_val_split < 1:
            raise UserError(f"train_val_split must be between 0 and 1, got {self.train_val_split}")
        if self.train_val_split is not None and self.streaming:
            raise UserError(HELD_OUT_OF_A_STREAM)
        if self.source.dataset is None and self.abstaining.is_wanted:
            raise UserError("--wanted_precision and --foreign need --dataset, images of the model's own classes")
        needs_more = self.suite is not None or self.streaming or self.protocol == "both" or self.abstaining.is_wanted
        if self.probe is not None and needs_more:
            raise UserError(
                "--probe judges a model's features by one data set at hand: it goes without --suite, --streaming, "
                "--foreign, --wanted_precision and --protocol both"
            )

    @property
    def library(self) -> Library:
        """Whose pixels the numbers are for."""
        return "transformers" if self.protocol == "transformers" else "timm"


def run(options: argparse.Namespace) -> None:
    """Judge models, on all processes."""
    # Everything that can be wrong is found before the work begins.
    evaluation = typed(Evaluation, options)
    metrics = _load_metrics(evaluation.metrics)
    accelerator = _accelerator(evaluation)
    classifiers = _open_classifiers(evaluation)
    dataset = _open_dataset(evaluation, accelerator)
    judge = _Judge(accelerator, evaluation.loading, evaluation.torch_compile, evaluation.flip)

    results = _results_without_models(dataset, evaluation, accelerator)
    if accelerator.is_main_process and (about := results["dataset"]) is not None:
        say(
            f"evaluating on {counted(about['images'], 'image')}, {counted(about['classes'], 'class')}", file=sys.stderr
        )
    if evaluation.suite is not None and evaluation.suite_root is not None:
        _judge_by_suites(classifiers, evaluation.suite, evaluation.suite_root, judge, evaluation.library, results)
    if dataset is not None:
        named = _judge_by_dataset(classifiers, dataset, metrics, judge, evaluation, results)
        if accelerator.is_main_process and evaluation.output is not None:
            _write_pages(named, classifiers, dataset, results, evaluation.output)
    if accelerator.is_main_process:
        from .evaluation_output import report  # with scipy.stats

        report(results, evaluation.output, evaluation.json)
    accelerator.end_training()


def _load_metrics(names: list[str]) -> dict[str, Any]:
    """Modules of `evaluate`, by their names."""
    if not names:
        return {}
    from ..evaluation.metric_modules import load_metric  # with `evaluate`, which takes seconds

    return {name: load_metric(name) for name in names}


def _write_pages(
    named: dict[str, Predictions],
    classifiers: dict[str, Classifier],
    dataset: datasets.Dataset | StreamedSplit,
    results: dict[str, Any],
    output: Path,
) -> None:
    from ..evaluation.class_files import write_class_files  # with matplotlib, for those who want pages
    from .evaluation_output import folder_of
    from .evaluation_report import write_html_report

    for name, predictions in named.items():
        write_class_files(folder_of(name, list(named), output), predictions, results["models"][name])
    if isinstance(dataset, datasets.Dataset):
        write_html_report(named, next(iter(classifiers.values())), dataset, results, output / "report.html")


def _accelerator(evaluation: Evaluation) -> Accelerator:
    precision = precision_here(evaluation.mixed_precision, evaluation.torch_compile)
    accelerator = Accelerator(mixed_precision=precision, dynamo_backend="no")  # the launcher's would allow TF32
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise UserError("fp16 needs a GPU (accelerate would silently go on in float32): --mixed_precision auto, or no")
    remark = remark_on(accelerator.mixed_precision)
    if remark is not None and accelerator.is_main_process:
        say(remark, file=sys.stderr)
    return accelerator


def _open_classifiers(evaluation: Evaluation) -> dict[str, Classifier]:
    """By their names, their images prepared as asked for."""
    opened = {}
    for name in evaluation.models:
        classifier = open_classifier(name, evaluation.trust_remote_code, evaluation.dtype)
        require_one_class_per_image(name, classifier.model)
        if classifier.is_onnx and (evaluation.torch_compile or evaluation.mixed_precision not in (None, "no")):
            raise UserError(f"{name} is an ONNX file, whose precision and compilation are its own")
        opened[name] = replace(classifier, preprocessing=evaluation.changes.applied_to(classifier.preprocessing))
    return opened


def _open_dataset(evaluation: Evaluation, accelerator: Accelerator) -> datasets.Dataset | StreamedSplit | None:
    source, share = evaluation.source, evaluation.train_val_split
    if source.dataset is None:
        return None
    with accelerator.main_process_first():
        if evaluation.streaming:
            return open_stream(source)
        return load_split(source, source.split, None if share is None else (share, evaluation.seed))


@dataclass(frozen=True)
class _Judge:
    """Asks a model about images, this process's share of them."""

    accelerator: Accelerator
    loading: Loading
    torch_compile: bool
    flip: bool

    def predict(
        self, name: str, classifier: Classifier, dataset: datasets.Dataset | StreamedSplit, library: Library
    ) -> Predictions:
        """Of all processes. `library`: whose pixels, see `Preparation`."""
        accelerator = self.accelerator
        data_names = dataset.features["label"].names
        class_map, label_names = class_map_of(classifier.label_names, data_names, classifier.codes)
        share = accelerator.process_index, accelerator.num_processes
        sampler = evaluation_sampler(dataset, self.loading.batch_size, self.loading.num_workers, *share)
        preparation = Preparation(classifier.preprocessing, library)
        loader = make_loader(dataset, sampler, preparation, accelerator.device, self.loading)
        model = classifier.model.to(accelerator.device).to(memory_format=torch.channels_last)
        if self.torch_compile:
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
                self.flip,
                lambda images: bar.advance(task, images * accelerator.num_processes),
            )


class _Speed(ProgressColumn):
    def render(self, task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")


def _judge_by_dataset(
    classifiers: dict[str, Classifier],
    dataset: datasets.Dataset | StreamedSplit,
    metrics: dict[str, Any],
    judge: _Judge,
    evaluation: Evaluation,
    results: dict[str, Any],
) -> dict[str, Predictions]:
    """Each model's predictions; what follows from them is put into the results."""
    from .scores import comparisons, scores  # with `evaluate` and scipy.stats, which take seconds

    named, train = {}, None
    if evaluation.probe is not None:
        with needs_packages("a probe", "probe"):
            import sklearn.linear_model  # noqa: F401  before minutes are spent on features
        train = training_images(evaluation.source, evaluation.train_val_split, evaluation.seed)
    for name, classifier in classifiers.items():
        started_at = time.perf_counter()
        if train is None:
            named[name] = judge.predict(name, classifier, dataset, evaluation.library)
        else:
            named[name] = _probe(name, classifier, (train, dataset), judge, evaluation)
        images_per_second = len(dataset) / (time.perf_counter() - started_at)
        if not np.isfinite(named[name].logits).all():
            raise UserError(f"{name} gives numbers that are not finite: try --mixed_precision no")
        foreign, again = None, None
        if evaluation.abstaining.foreign is not None:
            strangers = foreign_images(evaluation.abstaining.foreign, classifier.label_names)
            foreign = judge.predict(name, classifier, strangers, evaluation.library)
        if evaluation.protocol == "both":
            again = judge.predict(name, classifier, dataset, "transformers")
        if judge.accelerator.is_main_process:
            results["models"][name] |= {
                "protocol": {
                    **classifier.preprocessing.as_result(),
                    "flip": judge.flip,
                    "dtype": classifier.dtype,
                    "library": evaluation.library,
                },
                "probe": evaluation.probe,
                "num_labels": named[name].logits.shape[1],
                "images_per_second": round(images_per_second, 1),
                **scores(named[name], again, foreign, evaluation.abstaining, metrics),
            }
    if judge.accelerator.is_main_process:
        results["comparisons"] = comparisons(named)
    return named


def _probe(
    name: str, classifier: Classifier, splits: tuple[Any, Any], judge: _Judge, evaluation: Evaluation
) -> Predictions:
    """What a probe says of one split that is fitted on features of another. `--output` gets a linear one's model."""
    assert evaluation.probe is not None
    features = of_features(name, classifier, splits[0])
    known, asked = (judge.predict(name, features, split, evaluation.library) for split in splits)
    probe = fit_probe(evaluation.probe, known)
    predictions = probe.predictions(asked)
    if isinstance(probe, LinearProbe) and evaluation.output is not None and judge.accelerator.is_main_process:
        from .evaluation_output import folder_of

        folder = folder_of(name, evaluation.models, evaluation.output) / "probe"
        fitting = Fitting(name, str(evaluation.source.dataset), len(known.labels), predictions)
        if save_probe(folder, classifier, probe, fitting):
            say(f"{folder}: the network with this classifier, to predict, export and publish", file=sys.stderr)
    return predictions


def _judge_by_suites(
    classifiers: dict[str, Classifier],
    suite: str,
    suite_root: Path,
    judge: _Judge,
    library: Library,
    results: dict[str, Any],
) -> None:
    from ..evaluation.suites import SUITES, judge_by, open_suites, require_imagenet_classes  # with timm's labels

    for classifier in classifiers.values():  # its own names: predictions have the data's where they differ
        require_imagenet_classes(classifier.label_names)
    opened, results["suites_absent"] = open_suites(suite_root, tuple(SUITES) if suite == "robustness" else (suite,))
    for name, classifier in classifiers.items():

        def predictions(dataset: datasets.Dataset, already_cropped: bool, name=name, classifier=classifier):
            preprocessing = classifier.preprocessing
            if already_cropped:
                preprocessing = replace(preprocessing, resize_size=preprocessing.image_size)
            return judge.predict(name, replace(classifier, preprocessing=preprocessing), dataset, library)

        results["models"][name]["suites"] = judge_by(opened, predictions)


def _results_without_models(
    dataset: datasets.Dataset | StreamedSplit | None, evaluation: Evaluation, accelerator: Accelerator
) -> dict[str, Any]:
    about_data, source = None, evaluation.source
    if dataset is not None:
        split = source.split or (dataset.split if isinstance(dataset, datasets.Dataset) else None)
        if evaluation.train_val_split is not None:
            held_out = f"held out with seed {evaluation.seed}"
            split = f"{evaluation.train_val_split} of {source.split or 'train'}, {held_out}"
        about_data = {
            "name": source.dataset,
            "config": source.dataset_config,
            "split": None if split is None else str(split),
            "images": len(dataset),
            "classes": len(dataset.features["label"].names),
        }
    return {
        "dataset": about_data,
        "precision": accelerator.mixed_precision,
        "processes": accelerator.num_processes,
        "models": {name: {"suites": {}} for name in evaluation.models},
        "comparisons": [],
        "suites_absent": {},
        "versions": versions(),
    }
