"""What `resnet50 publish --space` and `--static_space` write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from resnet50_recipe.errors import UserError
from resnet50_recipe.terminal import say
from resnet50_recipe.words import command

from ..evaluation.results import to_json
from ..files import replaced_folder, require_free
from ..hub.model_folder import load_our_model
from ..hub.spaces.examples import folder_examples, own_examples
from ..hub.spaces.writing import write_gradio_space, write_static_space
from ..hub.upload import Item, files_of, published
from ..training.run_folder import is_run, open_run


@dataclass(frozen=True)
class WantedSpace:
    """What `resnet50 publish` was told of a Space, by the names of its options."""

    folder: Path
    to: str | None
    space: str | None
    static_space: str | None
    compare: str | None
    examples: Path | None
    fp32: bool
    transformers_js: Path | None
    revision: str
    message: str
    tag: str | None
    private: bool | None
    json: bool


def write_space(wanted: WantedSpace, scratch: Path) -> tuple[Item, dict[str, Path]] | None:
    """
    The Space that is asked for.

    Args:
        scratch: an empty folder.

    Returns:
        What is to be published, and its files; None if it was written to a folder.
    """
    place = wanted.space or wanted.static_space
    assert place is not None, "who wants a Space has said where"
    if is_folder(place):
        target = Path(place).expanduser()
        require_free(target, overwrite=False)
        with replaced_folder(target, overwrite=False) as folder:
            _write(wanted, _title(wanted.folder), folder)
        how = "python app.py" if wanted.space else "python -m http.server"
        say(to_json({"out": place}) if wanted.json else f"wrote {place}: {command('cd', target)} && {how}")
        return None
    folder = scratch / "space"
    folder.mkdir()
    _write(wanted, place.split("/")[-1], folder)
    sdk = "gradio" if wanted.space else "static"
    item = Item(place, wanted.revision, wanted.message, wanted.tag, wanted.private, space_sdk=sdk)
    return item, files_of(folder)


def is_folder(place: str) -> bool:
    """
    Raises:
        UserError: neither a folder nor a repository.
    """
    if place.startswith((".", "/", "~")):
        return True
    try:
        validate_repo_id(place)
    except HFValidationError as error:
        raise UserError(f"{place} is not a Space: give user/name, or a folder as ./name") from error
    if "/" not in place:
        raise UserError(f"{place} is not a Space: give user/{place}, or a folder as ./{place}")
    return False


def model_of(name: str) -> str:
    """A model, as it is named, or of a run its best."""
    return str(Path(name).expanduser() / "best") if is_run(Path(name).expanduser()) else name


def _title(source: Path) -> str:
    """Of a page that has no name on the Hub yet: `Ask photos`, of runs/photos or its best/."""
    path = source.expanduser().absolute()
    return f"Ask {path.parent.name if path.name in ('best', 'final', 'final_average') else path.name}"


def _write(wanted: WantedSpace, title: str, folder: Path) -> None:
    model, repo_id = model_of(str(wanted.folder)), wanted.to
    if repo_id is None and model != str(wanted.folder):
        run, recipe = open_run(wanted.folder)
        # What was to be published and is not there yet, nobody could open: then the Space carries it along.
        if recipe.hub_model_id is not None and published(run.hub, recipe.hub_model_id):
            repo_id = recipe.hub_model_id
    if repo_id is None and not Path(model).exists():
        repo_id = model
    examples = folder_examples(wanted.examples) if wanted.examples else own_examples(model, public=True)
    if wanted.space:
        first = repo_id or model
        second = [] if wanted.compare is None else [model_of(wanted.compare)]
        write_gradio_space(folder, title, [first, *second], examples)
        return
    if wanted.compare is not None:
        raise UserError("--compare goes with --space: a page in the browser asks one model")
    opened, processor = load_our_model(model)
    if opened.config.num_channels != 3:
        raise UserError(
            f"a page in the browser takes RGB: {model}, of {opened.config.num_channels} channels, goes by --space"
        )
    about: dict[str, Any] = {"fp16": not wanted.fp32, "node_modules": wanted.transformers_js}
    write_static_space(folder, title, opened.eval(), processor, repo_id, examples, **about)
