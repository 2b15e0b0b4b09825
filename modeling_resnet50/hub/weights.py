"""Weights that come from elsewhere: read without running anything in them, and renamed to and from our names."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import UserError


# Where training scripts keep the weights in the dictionaries they save: ours and the classic tutorial's, torchvision's
# references, timm's train.py (its averaged weights are the better ones), Lightning and many others.
_WEIGHTS_UNDER = ("model_state_dict", "state_dict_ema", "model_ema", "state_dict", "model")

# Wrappers that put their own name before every key: DDP, torch.compile, timm's and torchvision's averaged model.
_WRAPPERS = ("module.", "_orig_mod.")

StateDict = dict[str, Tensor]


def read_weights(path: Path) -> StateDict:
    """
    The tensors of a `.safetensors` file, or of a `.pth` / `.pt` / `.bin` file written by `torch.save`.

    Pickles are read with `weights_only=True`: code in them is refused, not run. Of a training checkpoint, the model's
    weights are returned; names that DDP, `torch.compile` or an averaged model put before each key are taken off.

    Raises:
        UserError: no such file, empty, truncated, with code in its pickle, or without weights.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): fetch it again")
    try:
        content = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from error
    return _state_dict_in(content, path)


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"Unsupported (?:global|class|operand)[^\n]*|Can only [^\n]*", str(error))
        if reason is None:
            raise UserError(f"{path} is damaged, or was not written by torch.save") from error
        raise UserError(
            f"{path} is refused: its pickle holds more than weights ({reason[0].strip()}), which could run any code "
            "on this machine. Ask its author for a safetensors file"
        ) from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is damaged, or was not written by torch.save: {said}") from error


def _state_dict_in(content: Any, path: Path) -> StateDict:
    if isinstance(content, dict):
        for name in _WEIGHTS_UNDER:
            if isinstance(content.get(name), dict):
                content = content[name]
                break
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    for wrapper in _WRAPPERS:
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    state.pop("n_averaged", None)  # beside the weights in torch's AveragedModel
    if not state:
        raise UserError(f"{path} holds no weights; its keys are {', '.join(map(str, list(content)[:5]))}, …")
    return state


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
