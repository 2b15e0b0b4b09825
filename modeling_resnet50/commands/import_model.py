"""`resnet50 import`: a model of timm, torchvision or transformers as one of ours."""

import argparse

from resnet50_recipe.terminal import say

from ..evaluation.results import to_json
from ..files import replaced_folder, require_free
from ..hub.importing import import_model
from ..hub.model_folder import image_processor, save_model_and_processor


def run(options: argparse.Namespace) -> None:
    """Write the imported model."""
    require_free(options.out, options.overwrite)
    imported = import_model(
        options.source,
        classifier=options.classifier,
        num_labels=options.num_labels,
        config_overrides=options.config_overrides,
        weights=options.weights,
        dtype=options.dtype,
    )
    with replaced_folder(options.out, options.overwrite) as folder:
        save_model_and_processor(folder, imported.model, image_processor(imported.preprocessing))
    parameters = imported.model.num_parameters()
    if options.json:
        say(to_json({"out": str(options.out), "parameters": parameters, "notes": imported.notes}))
        return
    for note in imported.notes:
        say(note)
    say(f"wrote {options.out}: {parameters:,} parameters")
