"""Models from elsewhere into a folder of this library: timm, torchvision, transformers' own ResNet, checkpoints."""

import json
import math
import re
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import AutoImageProcessor, PreTrainedConfig, ResNetForImageClassification
from transformers.initialization import no_init_weights
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

from resnet50_recipe.errors import UserError, in_one_line
from resnet50_recipe.words import counted

from ..architecture import require_known
from ..configuration_resnet50 import DEFAULT_PRETRAINED_CFG, ResNet50Config
from ..data.class_names import imagenet_words, is_wnid, names_in_words, told_apart
from ..data.preprocessing import Preprocessing
from ..modeling_resnet50 import ResNet50ForImageClassification, ResNet50Model
from .model_folder import has_processor, load_model, require_plain_weights, require_statistics_of
from .shapes import check_numbers, check_sizes, read_shapes
from .weights import (
    LogitsOnly,
    StateDict,
    check_fit,
    from_transformers_resnet,
    is_transformers_resnet,
    read_weights,
    require_numbers,
)


ASSUMED_PREPROCESSING = "image preparation: not stated there, so ImageNet's usual one (256 → 224 pixels, bilinear)"
"""A note of `Imported`."""

_ARCHITECTURE = list(ResNet50Config.__annotations__)

# The layers that give features and answers; what else there is comes after them, or is another network's.
_OF_THE_NETWORK = re.compile(r"(?:conv1|bn1|layer\d+|fc)\.")

# `model_type` of what is opened by its config.json, and the files that lie beside it.
_OURS = (ResNet50Config.model_type, "resnet")
_TIMM_WRAPPER = "timm_wrapper"
_OF_A_FOLDER = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_NAME, WEIGHTS_INDEX_NAME)

# timm's activations that transformers calls by another name than timm's class.
_ACTIVATIONS = {"leakyrelu": "leaky_relu", "gelutanh": "gelu_pytorch_tanh"}

# Fields of a configuration that go with its classifier.
_OF_CLASSES = ("id2label", "label2id", "problem_type", "pretrained_cfg", "confidence_threshold")


@dataclass
class Source:
    """What was found at the place to import from."""

    kind: str  # in words, to be shown
    state: StateDict  # under our names
    fields: dict[str, Any]  # of ResNet50Config, as far as the source states them
    preprocessing: Preprocessing | None = None
    reference: nn.Module | None = None  # computes logits from pixel values; the import has to agree with it
    assumed: list[str] = field(default_factory=list)  # where nothing can be compared, what to say about that

    @property
    def num_classes(self) -> int | None:
        """That its classifier tells apart, if it has one."""
        return self.state["fc.weight"].shape[0] if "fc.weight" in self.state else None


@dataclass
class Imported:
    """An imported model, and what there is to say about it."""

    model: ResNet50ForImageClassification | ResNet50Model
    preprocessing: Preprocessing
    notes: list[str]


def import_model(
    source: str,
    *,
    classifier: Literal["keep", "new", "drop", "fit"] = "keep",
    num_labels: int | None = None,
    config_overrides: dict[str, Any] | None = None,
    weights: str | None = None,
    dtype: Literal["float32", "auto"] = "float32",
) -> Imported:
    """
    Open a model from elsewhere as one of ours.

    Args:
        source: `timm:NAME`; a folder of timm or of transformers' own ResNet, or its id on the Hub; or a file:
            safetensors, or what `torch.save` wrote (a state dict, or a training checkpoint that holds one).
        classifier: keep the source's, put a new one in its place, drop it and give the features only; or "fit": keep
            it if it tells `num_labels` classes apart, else put a new one in its place.
        num_labels: classes of a new classifier.
        config_overrides: what the weights cannot show, e.g. `{"downsample_in_bottleneck": True}` for a v1 ResNet.
        weights: of a file with several networks, which: `"teacher"`, say.
        dtype: of the weights: float32, or "auto", as they were saved.

    Raises:
        UserError: nothing there, unreadable, no ResNet, a classifier that does not fit the request, or a model that
            computes something else than its source.
    """
    require_known(config_overrides or {}, [*_ARCHITECTURE, "num_labels", *_OF_CLASSES])
    found = _find(source, weights)
    require_numbers({name: value for name, value in found.state.items() if _OF_THE_NETWORK.match(name)}, source)
    fields = {**infer_fields(found.state, source), **found.fields, **(config_overrides or {})}
    if classifier == "fit":
        is_usable = found.num_classes == num_labels and fields.get("problem_type") != "regression"
        classifier = "keep" if is_usable else "new"
    notes = [f"recognised: {found.kind}"]
    compared = [_compare(found, fields, source)] if found.reference is not None else found.assumed
    if classifier == "keep":
        notes.append(_keep_classifier(found, fields, num_labels, source))
    else:
        notes += _leave_classifier(found, fields, num_labels, classifier)
    notes += compared
    model = _build(found.state, fields, classifier, source)
    saved_in = next(value.dtype for name, value in found.state.items() if name.endswith("conv1.weight"))
    if dtype == "auto":
        nn.Module.to(model, saved_in)
    elif saved_in != model.dtype:
        notes.append(f"weights: float32 here, saved in {str(saved_in).removeprefix('torch.')}")
    preprocessing = found.preprocessing or _usual_preprocessing(model.config.num_channels, source)
    if found.preprocessing is None:
        notes.append(ASSUMED_PREPROCESSING)
    return Imported(model, preprocessing, notes)


def _keep_classifier(found: Source, fields: dict[str, Any], num_labels: int | None, source: str) -> str:
    """Make sure that the source's classifier can stay; returns what there is to say."""
    classes = found.num_classes
    if classes is None:
        raise UserError(
            f"{source} has no classifier: give it one with --classifier new --num_labels N, or import the "
            "features with --classifier drop"
        )
    if num_labels not in (None, classes):
        raise UserError(
            f"{source} tells {classes} classes apart, not {num_labels}: --classifier new starts another one"
        )
    if fields.get("problem_type") == "regression":
        raise UserError(
            f"{source} predicts numbers (problem_type regression), and not classes: give it a new classifier "
            "with --classifier new --num_labels N, or import the features with --classifier drop"
        )
    if "id2label" not in fields:
        fields.setdefault("num_labels", classes)
    return f"classifier kept: {counted(classes, 'class')}"


def _leave_classifier(found: Source, fields: dict[str, Any], num_labels: int | None, classifier: str) -> list[str]:
    """Take the source's classifier away, and its fields, for a new one or none; returns what there is to say."""
    classes = found.num_classes
    dropped = "there was none" if classes is None else f"the old one, of {counted(classes, 'class')}, is gone"
    said = []
    found.state = {name: value for name, value in found.state.items() if not name.startswith("fc.")}
    beside = {name: value for name, value in found.state.items() if not _OF_THE_NETWORK.match(name)}
    if beside and all(value.ndim < 3 for value in beside.values()):  # no convolution, so it comes after the network
        found.state = {name: value for name, value in found.state.items() if name not in beside}
        said = [f"left out: {counted(len(beside), 'tensor')} of what came after the network, first {min(beside)}"]
    for name in _OF_CLASSES:
        fields.pop(name, None)
    if classifier == "drop":
        if num_labels is not None:
            raise UserError("--classifier drop leaves no classes that --num_labels could count: leave one of them out")
        if classes is not None:
            fields.setdefault("num_labels", classes)
        return [f"classifier dropped ({dropped}): this model gives features, open it with AutoModel", *said]
    if num_labels is None or num_labels < 1:
        raise UserError("--classifier new needs --num_labels, the number of classes, at least 1")
    fields["num_labels"] = num_labels
    return [f"classifier new, random, for {counted(num_labels, 'class')} ({dropped}): train it before use", *said]


def _build(
    state: StateDict, fields: dict[str, Any], classifier: str, source: str
) -> ResNet50ForImageClassification | ResNet50Model:
    """A model with these weights, in evaluation mode; all of them, but for a new classifier's."""
    try:
        config = ResNet50Config(**fields)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UserError(f"{source}: {str(error.__cause__ or error).strip()}") from error
    with nullcontext() if classifier == "new" else no_init_weights():  # half a second for random weights, to be gone
        model = (ResNet50Model if classifier == "drop" else ResNet50ForImageClassification)(config)
    is_new = "fc." if classifier == "new" else ()
    expected = {name: value for name, value in model.state_dict().items() if not name.startswith(is_new)}
    check_fit(state, expected, source)
    model.load_state_dict(state, strict=False)  # all is there, except perhaps a new classifier
    return model.eval()


def _usual_preprocessing(num_channels: int, source: str) -> Preprocessing:
    """ImageNet's."""
    from timm.data.loader import adapt_to_chs

    cfg: dict[str, Any] = DEFAULT_PRETRAINED_CFG
    statistics = {name: adapt_to_chs(cfg[name], num_channels) for name in ("mean", "std")}
    return Preprocessing.from_timm({**cfg, **statistics}, source)


def infer_fields(state: StateDict, source: str) -> dict[str, Any]:
    """
    The fields of `ResNet50Config` that names and shapes of the weights (ours, or torchvision's and timm's) give away.

    Raises:
        UserError: these are not the weights of a ResNet.
    """
    stem = next((state[name] for name in ("conv1.weight", "conv1.6.weight") if name in state), None)
    if stem is None or stem.ndim != 4 or "layer1.0.conv1.weight" not in state:
        raise UserError(f"{source} holds no ResNet: its keys begin with {', '.join(list(state)[:3])}")
    first = state.get("conv1.0.weight", stem)
    depths: list[int] = []
    hidden_sizes: list[int] = []
    while f"layer{len(depths) + 1}.0.conv1.weight" in state:
        stage = f"layer{len(depths) + 1}"
        depth = 1
        while f"{stage}.{depth}.conv1.weight" in state:
            depth += 1
        depths.append(depth)
        last = "conv3" if f"{stage}.0.conv3.weight" in state else "conv2"
        hidden_sizes.append(state[f"{stage}.0.{last}.weight"].shape[0])
    fields = {
        "num_channels": first.shape[1],
        "embedding_size": stem.shape[0],
        "hidden_sizes": hidden_sizes,
        "depths": depths,
        "layer_type": "bottleneck" if "layer1.0.conv3.weight" in state else "basic",
        "stem_type": "deep" if "conv1.0.weight" in state else "imagenet" if stem.shape[-1] == 7 else "cifar",
        # ResNet-D's shortcuts begin with a pooling layer, which has no weights
        "avg_down": any(f"layer{stage + 2}.0.downsample.2.weight" in state for stage in range(len(depths) - 1)),
        "batch_norm_folded": "layer1.0.conv1.bias" in state,
    }
    if "fc.weight" in state and state["fc.weight"].shape[-1] == 2 * hidden_sizes[-1]:
        fields["global_pool"] = "catavgmax"
    return fields


def _find(source: str, weights: str | None) -> Source:
    path = Path(source).expanduser()
    if weights is not None and not path.is_file():
        raise UserError(f"{source} is not a file, whose networks --weights could choose from")
    name = timm_name(source)
    if name is not None:
        return _from_timm(name, source)
    if path.name in _OF_A_FOLDER and weights is None and (path.parent / "config.json").is_file():
        config = _config(path.parent)  # it says what weights cannot show
        if config.get("model_type") in (*_OURS, _TIMM_WRAPPER) or "architecture" in config:
            return _find(str(path.parent), None)
    if path.is_file():
        state, place = read_weights(path, weights)
        where = f", in {place}" if place else ""
        if is_transformers_resnet(state):
            kind, state = "transformers'", from_transformers_resnet(state)
        else:
            kind = "torchvision's"
        assumed = "assumed, as weights do not show it: relu, strides in the 3×3 convolutions, no blur pooling"
        return Source(f"weights under {kind} names{where}", state, {}, assumed=[f"{assumed} (--config_overrides)"])
    if path.is_dir():
        if (path / "adapter_config.json").is_file():
            raise UserError(
                f"{source} is an adapter, no whole model: model.merge_and_unload().save_pretrained(FOLDER) makes one"
            )
        if not (path / "config.json").is_file():
            models = [str(path / name) for name in ("best", "final") if (path / name / "config.json").is_file()]
            instead = f"a run's models are {' and '.join(models)}" if models else "give the weights' file itself"
            raise UserError(f"{source} is a folder without config.json; {instead}")
        config = _config(path)
        if config.get("model_type") == "resnet":
            return _from_transformers(source)
        if config.get("model_type") == ResNet50Config.model_type:
            return _from_this_library(source)
        raise UserError(f"{path / 'config.json'} describes {config.get('model_type', 'nothing known')}, not a ResNet")
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return _from_transformers(source) if _model_type(source) == "resnet" else _from_this_library(source)
    raise UserError(
        f"{source}: no such file or folder. Sources are files, folders, ids on the Hub, and timm:NAME, "
        "e.g. timm:resnet50.a1_in1k"
    )


def timm_name(source: str) -> str | None:
    """
    What timm calls a model of its own: `timm:NAME`, a folder, or an id on the Hub. None: it is not timm's.

    Raises:
        UserError: a folder whose config.json is none.
    """
    path = Path(source).expanduser()
    if source.startswith("timm:"):
        return source.removeprefix("timm:")
    if (path / "config.json").is_file():
        config = _config(path)
        is_timms = "architecture" in config and config.get("model_type", _TIMM_WRAPPER) == _TIMM_WRAPPER
        return f"local-dir:{path}" if is_timms else None
    return f"hf-hub:{source}" if source.startswith("timm/") else None


def open_timm(name: str, source: str) -> Any:
    """
    A module with timm's own attributes, in evaluation mode.

    Raises:
        UserError: timm cannot open it.
    """
    import timm  # here and below: models of this library and of transformers are opened without it

    folder = Path(name.removeprefix("local-dir:"))
    if name.startswith("local-dir:") and (folder / SAFE_WEIGHTS_NAME).is_file():
        check_numbers(_config(folder), read_shapes(folder / SAFE_WEIGHTS_NAME), source)
    try:
        if name.startswith("local-dir:") and "model_type" in _config(folder):
            return _unwrapped_timm(folder).eval()
        return timm.create_model(name, pretrained=True).eval()
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise UserError(f"timm cannot open {source}: {in_one_line(error)}") from error


def _unwrapped_timm(folder: Path) -> Any:
    """What transformers' TimmWrapper has trained. Its processor prepares images at the size of training, always."""
    import timm

    config = _config(folder)
    cfg = {**(config.get("pretrained_cfg") or {}), "test_input_size": None, "test_crop_pct": None}
    names = config.get("label_names")
    cfg["label_names"] = None if names and names[0] == "LABEL_0" else names
    cfg["label_descriptions"] = config.get("label_descriptions")
    arguments = {**(config.get("model_args") or {}), "num_classes": config.get("num_classes")}
    if not config.get("do_pooling", True):
        arguments["global_pool"] = ""
    model = timm.create_model(config["architecture"], pretrained_cfg_overlay=cfg, **arguments)
    state, _ = read_weights(next(folder / name for name in _OF_A_FOLDER if (folder / name).is_file()))
    model.load_state_dict(state)
    return model


def _config(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise UserError(f"{folder / 'config.json'} is not JSON: {error}") from error


def _model_type(source: str) -> str | None:
    try:
        return PreTrainedConfig.get_config_dict(source)[0].get("model_type")
    except (OSError, ValueError) as error:
        raise UserError(f"transformers cannot open {source}: {in_one_line(error)}") from error


def _from_this_library(source: str) -> Source:
    model, processor = load_model(source, dtype="auto", needs_processor=False)
    if not isinstance(model, ResNet50ForImageClassification):
        raise UserError(f"{source} is a {type(model).__name__}, not a ResNet")
    require_plain_weights(model, source)
    architecture = [name for name in _ARCHITECTURE if hasattr(model.config, name)]
    fields = {name: getattr(model.config, name) for name in architecture if name != "pretrained_cfg"}
    fields |= {name: getattr(model.config, name) for name in _OF_CLASSES}
    preprocessing = None if processor is None else Preprocessing.from_processor(processor, source)
    state = model.state_dict()  # as it was saved; the comparison is in float32
    return Source("a model of this library", state, fields, preprocessing, LogitsOnly(model.eval().float()))


def _from_timm(name: str, source: str) -> Source:
    from timm.layers import BlurPool2d
    from timm.models.resnet import ResNet

    model = open_timm(name, source)
    state = model.state_dict()
    if not isinstance(model, ResNet):
        raise UserError(f"{source} is a {type(model).__name__}, not a ResNet")
    activation = type(model.act1).__name__.lower()
    if model.num_classes and not model.global_pool.pool_type:
        raise UserError(
            f"{source} has a classifier but no pooling before it (global_pool is empty), so it has no answer"
        )
    fields: dict[str, Any] = {
        "hidden_act": _ACTIVATIONS.get(activation, activation),
        "global_pool": model.global_pool.pool_type or "avg",
        "blur_pool": any(isinstance(module, BlurPool2d) for module in model.modules()),
        "output_stride": model.feature_info[-1]["reduction"],
        "batch_norm_eps": model.bn1.eps,
    }
    classes = timm_classes(model, source)
    if classes is not None:
        names, codes = classes
        fields["id2label"] = dict(enumerate(names))
        if codes is not None:
            fields["pretrained_cfg"] = {"label_names": codes, "label_descriptions": dict(zip(codes, names))}
    preprocessing = timm_preprocessing(model, source)
    cfg: Any = model.pretrained_cfg
    reference = model if model.global_pool.pool_type else None  # of feature maps, the pooled ones would be compared
    return Source(f"timm's {cfg['architecture']}", state, fields, preprocessing, reference)


def timm_preprocessing(model: nn.Module, source: str) -> Preprocessing:
    """
    How timm prepares images to validate its model.

    Raises:
        UserError: in a way that is none of ours.
    """
    from timm.data import resolve_model_data_config

    mean, std = timm_mean_std(model)
    data = resolve_model_data_config(model, use_test_size=True) | {"mean": mean, "std": std}
    return Preprocessing.from_timm(data, source)


def timm_mean_std(model: nn.Module) -> tuple[list[float], list[float]]:
    """By which its images are normalised: of other channels than the stated ones, their average, as timm has it."""
    from timm.data import resolve_model_data_config
    from timm.data.loader import adapt_to_chs

    data = resolve_model_data_config(model)
    num_channels = next(module for module in model.modules() if isinstance(module, nn.Conv2d)).in_channels
    return list(adapt_to_chs(data["mean"], num_channels)), list(adapt_to_chs(data["std"], num_channels))


def timm_classes(model: Any, source: str) -> tuple[list[str], list[str] | None] | None:
    """
    The classes of a model of timm in its order: their names, and where these are descriptions, their codes, by which
    data may call them. None: it does not say what they are, and they are not ImageNet's.

    Raises:
        UserError: there are names for other classes than it has.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    cfg = model.pretrained_cfg
    stated, descriptions = cfg.get("label_names"), cfg.get("label_descriptions") or {}
    if not stated:
        subset = infer_imagenet_subset(model)
        return None if subset is None else (imagenet_words(ImageNetInfo(subset).label_names()), None)
    code_of = {
        int(index): str(code) for index, code in (stated.items() if isinstance(stated, dict) else enumerate(stated))
    }
    beyond = [index for index in code_of if index >= model.num_classes]
    if beyond or (not isinstance(stated, dict) and len(stated) != model.num_classes):
        raise UserError(f"{source} has label_names for {len(stated)} classes, but tells {model.num_classes} apart")
    codes = [code_of.get(index, f"LABEL_{index}") for index in range(model.num_classes)]  # a dictionary may have gaps
    if all(map(is_wnid, codes)) or not descriptions:
        return names_in_words(codes), None
    return told_apart([descriptions.get(code, code) for code in codes], codes), codes


def _from_transformers(source: str) -> Source:
    try:
        check_sizes(source)
        opened: Any = ResNetForImageClassification.from_pretrained(source, dtype="auto", output_loading_info=True)
        model, loading = opened
        original = AutoImageProcessor.from_pretrained(source) if has_processor(source) else None
    except (OSError, ValueError, KeyError, StrictDataclassError) as error:
        raise UserError(f"transformers cannot open {source}: {in_one_line(error)}") from error
    model.eval()
    config = model.config
    if config.hidden_act != "relu":
        raise UserError(
            f"{source} has hidden_act {config.hidden_act!r}: transformers' own ResNet takes that after the stem and "
            "the sums, and relu in between, which this library's ResNet does not"
        )
    if config.downsample_in_first_stage:
        raise UserError(f"{source} subsamples in its first stage, which this library's ResNet does not")
    has_classifier = not any(name.startswith("classifier.") for name in loading["missing_keys"])
    fields = {
        "hidden_act": config.hidden_act,
        "downsample_in_bottleneck": config.downsample_in_bottleneck,
        **{name: getattr(config, name) for name in _OF_CLASSES if hasattr(config, name)},
    }
    state = from_transformers_resnet(model.state_dict())
    if not has_classifier:
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    reference = LogitsOnly(model.float()) if has_classifier else None
    preprocessing = None
    if original is not None:
        require_statistics_of(config.num_channels, original, source)
        preprocessing = Preprocessing.from_processor(original, source)
    return Source("transformers' own ResNet", state, fields, preprocessing, reference)


@torch.inference_mode()
def _compare(found: Source, fields: dict[str, Any], source: str) -> str:
    """
    Our network with the source's weights, and the source, on the same random images: the weights may fit and the
    architectures still differ. Logits where there is a classifier, else features.
    """
    assert found.reference is not None
    has_classifier = found.num_classes is not None
    classes = {} if "id2label" in fields else {"num_labels": found.num_classes or 1}
    model = _build(found.state, {**fields, **classes}, "keep" if has_classifier else "drop", source).float()
    generator = torch.Generator().manual_seed(0)
    pixel_values = torch.randn(2, model.config.num_channels, 224, 224, generator=generator)
    output = model(pixel_values)
    ours = output.logits if has_classifier else output.pooler_output.flatten(1)
    theirs = found.reference(pixel_values)
    what = "logits" if has_classifier else "features"
    difference = (ours - theirs).abs().max().item() if ours.shape == theirs.shape else math.inf
    if not difference <= 1e-4 * max(1.0, theirs.abs().max().item()):
        raise UserError(
            f"{source} computes something else than a ResNet of this library with its weights "
            f"({what} differ by {difference:.3g}): it has a layer without weights that we do not know"
        )
    return f"compared on random images: {what} differ by at most {difference:.1e}"
