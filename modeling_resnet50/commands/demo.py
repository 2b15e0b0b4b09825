"""`resnet50 demo`: a page on this machine, to ask one model, or two side by side, about pictures."""

import argparse
import signal
import tempfile
from pathlib import Path

from resnet50_recipe.errors import UserError, needs_packages
from resnet50_recipe.terminal import say

from ..evaluation.grad_cam import grad_cam, overlay
from ..hub.classifiers import open_classifier
from ..hub.model_folder import image_processor
from ..hub.spaces.examples import folder_examples, own_examples, save_examples
from .spaces import model_of


def run(options: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    with needs_packages("a demo", "demo"):
        from ..hub.spaces.gradio_space import app
    names = [options.model] + ([options.second] if options.second else [])
    classifiers = []
    for name in map(model_of, names):
        opened = open_classifier(name, options.trust_remote_code, options.dtype)
        processor = image_processor(opened.preprocessing)
        classifiers.append(app.Classifier(_title(name), opened.model, processor, opened.label_names, opened.has_maps))
    if options.examples:
        pictures = folder_examples(options.examples)
    else:
        pictures = own_examples(model_of(options.model), public=False)
    with tempfile.TemporaryDirectory() as scratch:
        examples = save_examples(pictures, Path(scratch) / "examples")
        page = app.build_page(classifiers, grad_cam, overlay, examples)
        if options.share:  # the tunnel is a process of its own, which Gradio ends at Ctrl-C
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.default_int_handler)
        where = {"server_name": options.host, "server_port": options.port, "share": options.share}
        try:
            app.launch(page, **where, quiet=True, prevent_thread_lock=True)
        except OSError as error:
            raise UserError(f"cannot listen on {options.host}: {error}") from error
        say(f"{page.share_url or page.local_url} asks {' and '.join(names)}; Ctrl-C ends it")
        page.block_thread()


def _title(name: str) -> str:
    """Of a path, its last two parts: many a model is called `best`."""
    return "/".join(Path(name).expanduser().absolute().parts[-2:]) if Path(name).expanduser().exists() else name
