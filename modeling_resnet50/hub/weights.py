"""Weights that come from elsewhere: read without running anything in them, and renamed to and from our names."""

import json
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from resnet50_recipe.errors import UserError

from .pickles import is_safetensors, other_kind, unpickle


StateDict = dict[str, Tensor]

# One weight that every ResNet has exactly once: under torchvision's, timm's and our names, and under transformers'.
_LANDMARK = re.compile(r"((?:.+?\.)??)(?:layer1\.0\.conv1|(?:resnet\.)?embedder\.embedder\.convolution)\.weight")


def read_weights(path: Path, place: str | None = None) -> tuple[StateDict, str]:
    """
    The tensors of a safetensors file, of the parts that a `.safetensors.index.json` lists, or of a file written by
    `torch.save`, whatever it is called.

    Pickles are read with `weights_only=True`: code in them is refused, not run. The weights may lie anywhere in the
    dictionaries of a training checkpoint, under whatever names wrappers put before theirs.

    Args:
        place: what leads to the weights, or a part of it, where the file holds several networks. Without it, averaged
            weights ("ema") are taken rather than those that they are the average of.

    Returns:
        The weights under their own names, and what led to them: `"state_dict.module"`, or `""`.

    Raises:
        UserError: no such file, empty, truncated, of another kind, with code in its pickle, without weights, or with
            those of several networks and no answer as to which.
    """
    if part := re.fullmatch(r"(.+)-\d{5}-of-(\d{5})(\.\w+)", path.name):
        raise UserError(
            f"{path} is one of {int(part[2])} parts: give their list, {part[1]}{part[3]}.index.json, or their folder"
        )
    content = _content_of(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a dictionary of weights")
    tensors = _with_torchvisions_names(_tensors_in(content))
    if not tensors:
        raise UserError(f"{path} holds no weights; its keys are {', '.join(map(str, list(content)[:5]))}, …")
    prefixes = [match[1] for name in tensors if (match := _LANDMARK.fullmatch(name))]
    if not prefixes:
        return tensors, ""  # whose names then say what it is instead
    prefix = _choose(prefixes, place, path)
    others = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
    names = [name for name in tensors if name.startswith(prefix) and not (others and name.startswith(others))]
    state = {name.removeprefix(prefix): tensors[name] for name in names}
    if not is_transformers_resnet(state):
        _find_classifier(state, prefix, tensors)
    return state, prefix.rstrip(".")


def _content_of(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): fetch it again")
    if path.name.endswith(".safetensors.index.json"):
        try:
            parts = {str(part) for part in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path} lists no parts of a model's weights") from error
        contents = [_content_of(path.parent / Path(part).name) for part in sorted(parts)]
        return {name: value for content in contents for name, value in content.items()}
    if path.suffix != ".safetensors" and not is_safetensors(path):
        return unpickle(path)
    try:
        return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is {other_kind(path) or f'damaged or not a safetensors file: {error}'}") from error


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
        # Lightning's callbacks put the average in the place of `state_dict`, and move what was there.
        is_lightnings = any(prefix.startswith("current_model_state.") for prefix in prefixes)
        pattern = r"state_dict\." if is_lightnings else r"(?:.*[._])?ema[._]"
        averaged = [prefix for prefix in prefixes if re.match(pattern, prefix)]
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


# What a classifier is called that is one linear layer: after a backbone, or in place of torchvision's `fc`, perhaps
# behind a dropout in a sequence. Heads that project, as of self-supervised training, are called otherwise.
_CLASSIFIER = re.compile(r"(?:.+\.)?(?:fc|head|classifier|cls|linear|last_linear)(?:\.(?:fc|head|\d+))?\.weight")


def _find_classifier(state: StateDict, prefix: str, tensors: StateDict) -> None:
    """Give a network its linear classifier under our name, `fc`, from wherever in a wrapper it lies."""
    if "fc.weight" not in state:
        parent = re.sub(r"[^.]+\.$", "", prefix)
        widths = [
            value.shape[0] for name, value in state.items() if re.fullmatch(r"layer\d\.0\.conv[23]\.weight", name)
        ]
        features = (max(widths, default=0), 2 * max(widths, default=0))  # twice as many of average and maximum
        linear = [
            name
            for name, value in tensors.items()
            if name.startswith(parent) and value.ndim == 2 and _CLASSIFIER.fullmatch(name.removeprefix(parent))
        ]
        if len(linear) != 1 or tensors[linear[0]].shape[1] not in features:
            return
        place = linear[0].removesuffix("weight")
        whole = re.sub(r"\.\d+\.$", ".", place)  # with a normalisation beside it in a sequence, it would be none
        if any(name.startswith(whole) and name not in (f"{place}weight", f"{place}bias") for name in tensors):
            return
        for kind in ("weight", "bias"):
            if place + kind in tensors:
                state.pop((place + kind).removeprefix(prefix), None)
                state[f"fc.{kind}"] = tensors[place + kind]
    if "fc.bias" not in state:  # it adds nothing
        state["fc.bias"] = torch.zeros(len(state["fc.weight"]), dtype=state["fc.weight"].dtype)


# Networks whose layers are torchvision's under other names: two weights that tell, and how their names begin.
_RENUMBERED = [
    (  # torchvision's children one after the other, in nn.Sequential: of fastai, lightly and many a script
        ("4.0.conv1.weight", "0.weight"),
        {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4", "9": "fc"},
    ),
    (("layers.0.0.conv1.weight", "conv1.weight"), {f"layers.{n}": f"layer{n + 1}" for n in range(4)}),  # NVIDIA's
]


def _with_torchvisions_names(tensors: StateDict) -> StateDict:
    """The same tensors, those of `_RENUMBERED` networks under torchvision's names."""
    renamed = dict(tensors)
    for (landmark, stem), names in _RENUMBERED:
        found = [name.removesuffix(landmark) for name in tensors if f".{name}".endswith(f".{landmark}")]
        for prefix in [prefix for prefix in found if prefix + stem in tensors]:
            for theirs, ours in names.items():
                for name in [name for name in tensors if name.startswith(f"{prefix}{theirs}.")]:
                    renamed[f"{prefix}{ours}{name.removeprefix(prefix + theirs)}"] = renamed.pop(name)
    return renamed


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


def require_numbers(state: StateDict, source: str) -> None:
    """
    Raises:
        UserError: a tensor holds no numbers to compute with: integers of a quantised network, none at all, or some
            that are not finite, or variances below 0.
    """
    for name, value in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        kind = str(value.dtype).removeprefix("torch.")
        if value.is_meta or value.layout != torch.strided or not value.is_floating_point():
            kind = "no numbers" if value.is_meta else kind if value.layout == torch.strided else "a sparse tensor"
            raise UserError(
                f"{source}: {name} holds {kind}: give the weights as they were before they were quantised or packed"
            )
        if not value.float().isfinite().all():
            raise UserError(f"{source}: some of its weights are not finite, first {name}: its training went wrong")
        if name.endswith("running_var") and (value.float() < 0).any():
            raise UserError(f"{source}: {name} has variances below 0, which no images give: it is damaged")


class LogitsOnly(nn.Module):
    """A transformers classifier as a plain function from `pixel_values` to logits, as other tools want it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits
