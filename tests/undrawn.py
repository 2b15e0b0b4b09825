"""train.py, but the curves are written as what would be drawn: drawing takes a third of a run of seconds."""

import runpy

from modeling_resnet50.training import curves


def as_text(history: str, best: int) -> bytes:
    """Takes the place of `curves._training_curves`."""
    return f"{history} {best}".encode()


if __name__ == "__main__":
    curves._training_curves = as_text
    runpy.run_path("train.py", run_name="__main__")
