"""Weights that come from elsewhere: read without running anything in them, and renamed to and from our names."""

import argparse
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from resnet50_recipe.errors import UserError


StateDict = dict[str, Tensor]

# What training scripts pickle beside tensors and plain values: timm's train.py and torchvision's references keep their
# parsed command line. It has no code of its own to run, and nothing of it is used.
_SAFE_CLASSES: list[Any] = [argparse.Namespace]

# What PyTorch's reader stumbles over where the bytes of a pickle make no sense.
_OF_A_DAMAGED_PICKLE = (ValueError, TypeError, LookupError, AttributeError, AssertionError)

# One weight that every ResNet has exactly once: under torchvision's, timm's and our names, and under transformers'.
_LANDMARK = re.compile(r"((?:.+?\.)??)(?:layer1\.0\.conv1|(?:resnet\.)?embedder\.embedder\.convolution)\.weight")


def read_weights(path: Path, place: str | None = None) -> tuple[StateDict, str]:
    """
    The tensors of a `.safetensors` file, or of a `.pth` / `.pt` / `.bin` file written by `torch.save`.

    Pickles are read with `weights_only=True`: code in them is refused, not run. The weights may lie anywhere in the
    dictionaries of a training checkpoint, under whatever names wrappers put before theirs.

    Args:
        place: what leads to the weights, or a part of it, where the file holds several networks. Without it, averaged
            weights ("ema") are taken rather than those that they are the average of.

    Returns:
        The weights under their own names, and what led to them: `"state_dict.module"`, or `""`.

    Raises:
        UserError: no such file, empty, truncated, with code in its pickle, without weights, or with those of several
            networks and no answer as to which.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): fetch it again")
    try:
        content = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else unpickle(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    tensors = _tensors_in(content)
    if not tensors:
        raise UserError(f"{path} holds no weights; its keys are {', '.join(map(str, list(content)[:5]))}, …")
    prefixes = [match[1] for name in tensors if (match := _LANDMARK.fullmatch(name))]
    if not prefixes:
        return tensors, ""  # whose names then say what it is instead
    prefix = _choose(prefixes, place, path)
    others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
    names = [name for name in tensors if name.startswith(prefix) and not (others and name.startswith(others))]
    state = {name.removeprefix(prefix): tensors[name] for name in names}
    if "fc.weight" not in state:
        state |= _classifier_beside(prefix, tensors)
    return state, prefix.rstrip(".")


def unpickle(path: Path, device: str = "cpu") -> Any:
    """
    The content of a file that `torch.save` wrote, without running anything in it. On `"meta"`, tensors are shapes.

    Raises:
        UserError: it is damaged, or holds more than weights.
    """
    try:
        with torch.serialization.safe_globals(_SAFE_CLASSES):
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"unsupported (?:global|class|operand)[^\n]*|Can only [^\n]*", str(error), re.IGNORECASE)
        if reason is None:
            raise UserError(f"{path} is damaged, or was not written by torch.save") from error
        raise UserError(
            f"{path} is refused: its pickle holds more than weights ({reason[0].strip()}), which could run any code "
            "on this machine. Ask its author for a safetensors file"
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, OSError, *_OF_A_DAMAGED_PICKLE) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged, or was not written by torch.save: {said}") from error


def _tensors_in(content: dict[Any, Any]) -> StateDict:
    """All tensors in nested dictionaries as one state dict: the keys that lead to each, joined by dots."""
    found: StateDict = {}
    seen = {id(content)}  # a dictionary in a pickle may hold itself, or another one twice
    waiting = [("", content)]
    while waiting:
        prefix, level = waiting.pop(0)
        for key, value in level.items():
            # torch.compile puts its name before whatever part it compiled, also within a network
            name = f"{prefix}{key}".replace("_orig_mod.", "")
            if isinstance(value, Tensor):
                found[name] = value
            elif isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((f"{name}.", value))
    return found


def _choose(prefixes: list[str], wanted: str | None, path: Path) -> str:
    """The one that is meant of the prefixes before the networks' names."""
    if wanted is None:
        averaged = [prefix for prefix in prefixes if re.search(r"(?:^|[._])ema[._]", prefix)]
        found = averaged if len(averaged) == 1 else prefixes
    else:
        wanted = wanted.rstrip(".")
        found = [prefix for prefix in prefixes if prefix.rstrip(".") == wanted]
        found = found or [prefix for prefix in prefixes if f".{wanted}." in f".{prefix}"]
    if len(found) != 1:
        listed = ", ".join(prefix.rstrip(".") or "''" for prefix in prefixes[:5])
        raise UserError(
            f"{path} holds {len(prefixes)} networks, under {listed}: choose one by "
            "resnet50 import FILE OUT --weights PLACE"
        )
    return found[0]


def _classifier_beside(prefix: str, tensors: StateDict) -> StateDict:
    """The `fc` of a wrapper that holds backbone and classifier side by side."""
    parent = re.sub(r"[^.]+\.$", "", prefix)
    beside = re.compile(re.escape(parent) + r"(?:.+\.)?(?=fc\.weight$)")
    found = [match[0] for name in tensors if not name.startswith(prefix) and (match := beside.match(name))]
    if len(found) != 1:
        return {}
    names = [f"{found[0]}fc.{kind}" for kind in ("weight", "bias")]
    return {name.removeprefix(found[0]): tensors[name] for name in names if name in tensors}


# Our (and torchvision's) names, and those of transformers' own ResNet. The numbers are stage, block and convolution.
_RENAMINGS = [
    ("conv1.", "resnet.embedder.embedder.convolution."),
    ("bn1.", "resnet.embedder.embedder.normalization."),
    ("layer{}.{}.conv{}.", "resnet.encoder.stages.{}.layers.{}.layer.{}.convolution."),
    ("layer{}.{}.bn{}.", "resnet.encoder.stages.{}.layers.{}.layer.{}.normalization."),
    ("layer{}.{}.downsample.0.", "resnet.encoder.stages.{}.layers.{}.shortcut.convolution."),
    ("layer{}.{}.downsample.1.", "resnet.encoder.stages.{}.layers.{}.shortcut.normalization."),
    ("fc.", "classifier.1."),
]


def to_transformers_resnet(state: StateDict) -> StateDict:
    """
    Our names into those of `transformers.ResNetForImageClassification`.

    Raises:
        UserError: a name has no counterpart there.
    """
    return {_rename(name, _RENAMINGS, shift=-1): value for name, value in state.items()}


def from_transformers_resnet(state: StateDict) -> StateDict:
    """
    The names of `transformers.ResNetForImageClassification`, or of its base model, into ours.

    Raises:
        UserError: a name has no counterpart here.
    """
    inverse = [(theirs, ours) for ours, theirs in _RENAMINGS]
    full_names = {name if name.startswith(("resnet.", "classifier.")) else f"resnet.{name}": name for name in state}
    return {_rename(full, inverse, shift=1): state[name] for full, name in full_names.items()}


def _rename(name: str, renamings: list[tuple[str, str]], shift: int) -> str:
    for source, target in renamings:
        match = re.match(re.escape(source).replace(r"\{\}", r"(\d+)"), name)
        if match:
            # stages and convolutions are counted from 1 on our side and from 0 on theirs; blocks from 0 on both
            numbers = [int(number) + (0 if place == 1 else shift) for place, number in enumerate(match.groups())]
            return target.format(*numbers) + name[match.end() :]
    raise UserError(f"{name} has no counterpart under transformers' names and ours")


def is_transformers_resnet(state: StateDict) -> bool:
    """Whether the names are those of transformers' own ResNet."""
    return any("embedder.embedder.convolution." in name for name in state)


def check_fit(state: StateDict, expected: StateDict, source: str) -> None:
    """
    Raises:
        UserError: `state` does not fill a model with the `expected` tensors; names the first missing, extra and
            mis-shaped keys.
    """
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    extra = [name for name in state if name not in expected]
    misshaped = [name for name in state if name in expected and state[name].shape != expected[name].shape]
    problems = []
    if missing:
        problems.append(f"{len(missing)} missing, first {missing[0]}")
    if extra:
        problems.append(f"{len(extra)} extra, first {extra[0]}")
    if misshaped:
        name = misshaped[0]
        shapes = f"{tuple(state[name].shape)} in the file, {tuple(expected[name].shape)} in the model"
        problems.append(f"{len(misshaped)} of another shape, first {name} ({shapes})")
    if problems:
        raise UserError(f"{source} does not fit a ResNet of this library: {'; '.join(problems)}")


class LogitsOnly(nn.Module):
    """A transformers classifier as a plain function from `pixel_values` to logits, as other tools want it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits
