"""train.py, but the curves are written as what would be drawn: drawing takes a third of a run of seconds."""

import runpy

from modeling_resnet50.training import curves


if __name__ == "__main__":
    curves._training_curves = lambda history, best: f"{history} {best}".encode()
    runpy.run_path("train.py", run_name="__main__")
