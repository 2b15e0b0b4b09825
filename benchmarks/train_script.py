"""train.py as a function, for what is measured within it."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, GradientState


PROJECT = Path(__file__).parents[1]


def run_train_script(load_training_data: Callable[..., Any], fields: dict[str, Any]) -> None:
    """
    One run of train.py in this process, with `recipes/imagenet1k.yaml`.

    Args:
        load_training_data: stands in for the function that train.py calls by this name.
        fields: of the recipe, over those of the file.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps its state for the whole process
    GradientState._reset_state()
    spec = importlib.util.spec_from_file_location("train_script", PROJECT / "train.py")
    assert spec is not None
    assert spec.loader is not None
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.load_training_data = load_training_data
    sys.argv = ["train.py", "--config", str(PROJECT / "recipes" / "imagenet1k.yaml")]
    for name, value in fields.items():
        sys.argv += [f"--{name}", json.dumps(value) if isinstance(value, (dict, bool)) else str(value)]
    script.main()
