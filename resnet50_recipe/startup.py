"""What a program does while PyTorch and transformers are imported, which takes seconds."""

import atexit
import gc
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .cores import share_threads


_SAID = "loading PyTorch and transformers …"


@contextmanager
def importing(is_program: bool = False) -> Iterator[None]:
    """
    Around imports that take seconds. A terminal that watches is told at once, in a line that goes again; of several
    processes, by the first. Garbage is not collected meanwhile: there is next to none, and the search takes a tenth of
    the time.

    Args:
        is_program: this process does nothing else. What was imported is then not searched later either, as it stays;
            what another's program made before, it may let go.
    """
    # torchao, which ExecuTorch brings along and transformers imports, is written for an older PyTorch, which says so.
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    if "torch" in sys.modules:  # a program that has begun long ago, and calls one of ours
        yield
        return
    if is_program:
        share_threads()
    shown = sys.stderr.isatty() and _is_first()
    if shown:
        print(_SAID, end="\r", file=sys.stderr, flush=True)
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_program:
            gc.freeze()  # the next collection would look through a million objects, and find them in use
            atexit.register(gc.unfreeze)  # or Triton's binding reports all it is made of as leaked, in 30 lines
        if collects:
            gc.enable()
        if shown:
            print(" " * len(_SAID), end="\r", file=sys.stderr, flush=True)


def _is_first() -> bool:
    """Not one that loads data, nor a further one of a launcher's."""
    return multiprocessing.parent_process() is None and os.environ.get("LOCAL_RANK", "0") == "0"
