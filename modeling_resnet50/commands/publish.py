"""`resnet50 publish`: a run, or a model's folder, onto the Hub by hand; or a Space that asks it."""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import Timeout
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from resnet50_recipe.errors import UserError
from resnet50_recipe.exit_codes import ExitCode
from resnet50_recipe.run_options import REPO_ID
from resnet50_recipe.terminal import say
from resnet50_recipe.training_arguments import TrainingArguments
from resnet50_recipe.words import counted

from ..evaluation.results import to_json
from ..files import not_replaced
from ..hub.model_folder import load_model, renew_card
from ..hub.publishing import model_files
from ..hub.upload import (
    EXIT_REFUSED,
    Item,
    Uploader,
    compare,
    enqueue,
    explain_failures,
    link_or_copy,
    ours_in,
    published,
    read_records,
    remote_files,
    state_of,
)
from ..training.run_folder import RunFolder, is_run, open_run
from .spaces import WantedSpace, write_space
from .typed_options import typed


_SECONDS_TO_ANSWER = 10.0
_MARKS = {"added": "+", "changed": "~", "deleted": "-", "same": "="}


@dataclass(frozen=True)
class Delivery:
    """Whether files are sent or only shown, for how many minutes it is tried, and whether that is said in JSON."""

    dry_run: bool
    minutes: float
    json: bool


def run(options: argparse.Namespace) -> None:
    """Send a run's best model, or a model's folder; or a Space that asks it."""
    with tempfile.TemporaryDirectory() as temporary:
        if options.space or options.static_space:
            space = write_space(typed(WantedSpace, options), Path(temporary))
            if space is not None:
                _deliver(Path(temporary) / "hub", *space, {}, typed(Delivery, options))
            return
        if is_run(options.folder):
            run, recipe = open_run(options.folder)
            repo_id, folder, growing = options.to or recipe.hub_model_id, run.hub, run.tensorboard_files()
            model = _as_it_is(run.best, Path(temporary))
            if repo_id not in (recipe.hub_model_id, None):  # which the card names
                _rename(model, run, replace(recipe, hub_model_id=repo_id))
        else:
            repo_id, folder, growing = options.to, Path(temporary) / "hub", {}
            model = _as_it_is(options.folder, Path(temporary))
        files = model_files(model)
        if repo_id is None:
            raise UserError("which repository? --to user/name")
        if not REPO_ID.contains(repo_id):
            raise UserError(f"--to must be {REPO_ID.words}, got {repo_id!r}")
        item = Item(repo_id, options.revision, options.message, options.tag, options.private)
        _deliver(folder, item, files, growing, typed(Delivery, options))


def _deliver(folder: Path, item: Item, files: dict[str, Path], growing: dict[str, Path], delivery: Delivery) -> None:
    """Send files by the queue in `folder`; or show what that would change."""
    if delivery.dry_run:
        _show(item, files | growing, published(folder, item.repo_id), delivery.json)
        return
    folder.mkdir(exist_ok=True)
    enqueue(folder, item, files, growing)
    _send(folder, 60 * delivery.minutes, delivery.json)


def _as_it_is(model: Path, temporary: Path) -> Path:
    """A model's folder; in a run, which may train and replace it, what it is now, all of one state."""
    if not model.is_dir() or not is_run(model.resolve().parent):
        return model
    with not_replaced(model):
        model_files(model)  # what is wrong is said of this folder, not of its copy
        return Path(shutil.copytree(model, temporary / "model", copy_function=link_or_copy))


def _rename(model: Path, run: RunFolder, recipe: TrainingArguments) -> None:
    """Give a copy of the run's best model a card for the repository that the recipe names."""
    _, weights = run.best_model(recipe)
    renew_card(model, load_model(str(model))[0], run.trained_model(recipe, weights))


def _send(folder: Path, seconds: float, as_json: bool) -> None:
    uploader = Uploader(folder, seconds, shown=not as_json)
    uploader.nothing_more_comes()
    known = len(read_records(folder))
    try:
        code = uploader.run(patience=10)
    except Timeout as error:
        raise UserError(
            f"{folder} is being published by another process: it sends this, too, unless it is stopped"
        ) from error
    for record in read_records(folder)[known:]:
        if as_json:
            say(to_json(record))
            continue
        changes = f"{counted(record['changes'], 'file')} changed" if record["changes"] else "was there already"
        say(f"{record['message']} → {record['url']} ({changes})")
    if code == EXIT_REFUSED:
        raise UserError(state_of(folder)["trouble"])
    if code:
        say(f"not yet published: {state_of(folder)['trouble']}", file=sys.stderr)
        sys.exit(ExitCode.NOT_PUBLISHED)


def _show(item: Item, files: dict[str, Path], ours: set[str], as_json: bool) -> None:
    """The tree as it would be, and how it differs from what is there."""
    result = explain_failures(item.repo_id, lambda: {"remote": _remote(item)})
    if "remote" not in result:
        raise UserError(result.get("refused") or result.get("failure"))
    remote = result["remote"] or {}
    changes = compare(files, remote, ours_in(item, remote, ours))
    to_send = sum(files[name].stat().st_size for name in changes["added"] + changes["changed"])
    if as_json:
        about = {"repo_id": item.repo_id, "revision": item.revision, "exists": result["remote"] is not None}
        say(to_json({**about, **changes, "bytes": to_send}))
        return
    new = " (would be made)" if result["remote"] is None else ""
    say(f"{item.repo_id}, branch {item.revision}{new}")
    marks = {name: _MARKS[kind] for kind, names in changes.items() for name in names}
    for name in sorted(marks):
        size = f"{files[name].stat().st_size:>14,} bytes" if name in files else ""
        say(f"  {marks[name]} {name:40} {size}")
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in changes.items())
    say(f"{counts}; {to_send:,} bytes to send. Nothing was sent.")


def _remote(item: Item) -> dict[str, str] | None:
    """None if the repository or the branch is not there yet."""
    api = HfApi()
    try:
        # One question that is asked once: without a network, the client would ask for the files again for a minute.
        api.repo_info(item.repo_id, revision=item.revision, repo_type=item.repo_type, timeout=_SECONDS_TO_ANSWER)
        return remote_files(api, item.repo_id, item.revision, item.repo_type)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return None
