"""`resnet50 import`: a model of timm, torchvision or transformers as one of ours."""

import argparse
import json
from pathlib import Path

from ..files import replaced_folder, require_free
from ..hub.importing import import_model
from ..hub.model_folder import save_model_and_processor


def add_options(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Open a ResNet from elsewhere and write it as a folder of this library. The kind is recognised "
        "from its keys; where the source can be run, both must give the same logits."
    )
    command.epilog = "example: resnet50 import timm:resnet50.a1_in1k imported"
    command.add_argument(
        "source",
        help="timm:NAME · a folder of timm or of transformers' own ResNet, or its id on the Hub · a .safetensors, "
        ".pth, .pt or .bin file",
    )
    command.add_argument("out", type=Path, help="folder to write")
    command.add_argument(
        "--classifier",
        choices=["keep", "new", "drop"],
        default="keep",
        help="keep the source's (default), start a new one for --num_labels, or drop it",
    )
    command.add_argument("--num_labels", type=int, help="classes of a new classifier")
    command.add_argument(
        "--config_overrides",
        type=json.loads,
        help="JSON, what weights cannot show, e.g. '{\"downsample_in_bottleneck\": true}' for a v1 ResNet",
    )
    command.add_argument("--overwrite", action="store_true", help="replace what OUT already holds")
    command.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> None:
    require_free(options.out, options.overwrite)
    imported = import_model(
        options.source,
        classifier=options.classifier,
        num_labels=options.num_labels,
        config_overrides=options.config_overrides,
    )
    with replaced_folder(options.out) as folder:
        save_model_and_processor(folder, imported.model, imported.processor)
    for note in imported.notes:
        print(note)
    print(f"wrote {options.out}: {imported.model.num_parameters():,} parameters")
