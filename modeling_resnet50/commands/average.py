"""`resnet50 average`: one model of several, by the mean of their weights."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say
from resnet50_recipe.words import counted

from ..evaluation.results import to_json
from ..files import replaced_folder, require_free
from ..hub.averaging import Average, average, save_average
from ..hub.eval_results import in_terms_of_the_hub
from ..training.averaging import recalibrate_batch_norm
from .preparation import Preparation
from .typed_options import Loading, Source, typed


@dataclass(frozen=True)
class Wanted:
    """The options of the command line, by their names."""

    models: list[str]
    output: Path
    use_ema: bool
    recalibration_steps: int
    source: Source
    loading: Loading
    overwrite: bool
    json: bool


def run(options: argparse.Namespace) -> None:
    """Write the mean."""
    _average(typed(Wanted, options))


def _average(wanted: Wanted) -> None:
    if wanted.recalibration_steps < 1:
        raise UserError("--recalibration_steps must be at least 1")
    require_free(wanted.output, wanted.overwrite)
    found = average(wanted.models, wanted.use_ema)
    recalibrated = "" if wanted.source.dataset is None else _recalibrate(found, wanted)
    with replaced_folder(wanted.output, wanted.overwrite) as folder:
        save_average(folder, found, recalibrated)
    if wanted.json:
        members = [{"name": each.name, "weights": each.weights, "sha256": each.sha256} for each in found.members]
        say(to_json({"output": str(wanted.output), "mean_of": members, "recalibrated_on": recalibrated or None}))
        return
    for each in found.members:
        say(f"{each.name}: {each.weights}")
    statistics = f"measured on {recalibrated}" if recalibrated else "their mean: --recalibrate DATA may be worth it"
    say(f"BatchNorm's statistics: {statistics}")
    say(f"wrote {wanted.output}: the mean of {counted(len(found.members), 'model')}")


def _recalibrate(found: Average, wanted: Wanted) -> str:
    """Measure BatchNorm's statistics anew. Returns what on, in words."""
    from .evaluation_data import load_split, make_loader  # with `datasets`, for who has some

    images = load_split(wanted.source, wanted.source.split)
    size = wanted.loading.batch_size
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    drawn = drawn[: wanted.recalibration_steps * size]
    drawn = drawn[: max(size, len(drawn) // size * size)]  # each batch has the same weight
    parts = [[(0, index) for index in part.tolist()] for part in drawn.split(size)]
    accelerator = Accelerator(dynamo_backend="no")  # the launcher's would allow TF32
    model, dtype = found.model, found.model.dtype
    model.to(accelerator.device).float()
    loader = make_loader(images, parts, Preparation(found.preprocessing), accelerator.device, wanted.loading)
    recalibrate_batch_norm(model, loader, len(parts), accelerator)
    torch.nn.Module.to(model, "cpu", dtype)
    assert wanted.source.dataset is not None
    return f"{counted(len(drawn), 'image')} of {in_terms_of_the_hub(wanted.source.dataset)['dataset_name']}"
