"""Configuration of ResNet-50: architecture and image preparation. Travels to the Hub with the weights."""

import operator
from collections.abc import Mapping
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneConfigMixin


# Saved with every checkpoint, so that each Auto class finds its code in the checkpoint's own folder.
AUTO_MAP = {
    "AutoConfig": "configuration_resnet50.ResNet50Config",
    "AutoModel": "modeling_resnet50.ResNet50Model",
    "AutoModelForImageClassification": "modeling_resnet50.ResNet50ForImageClassification",
    "AutoBackbone": "modeling_resnet50.ResNet50Backbone",
}

# What timm has to be told of the images when nobody said otherwise: ImageNet's usual evaluation.
DEFAULT_PRETRAINED_CFG = {
    "input_size": [3, 224, 224],
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "crop_mode": "center",
}

# Written into config.json for timm and for AutoImageProcessor, derived from the other fields whenever it is written.
_DERIVED = ("architecture", "model_args", "num_classes", "num_features", "image_processor_type")

# timm's architectures: block type and depths. Everything else about a variant goes into `model_args`.
_TIMM_ARCHITECTURES = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet34": ("basic", [3, 4, 6, 3]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet101": ("bottleneck", [3, 4, 23, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
    "resnetblur18": ("basic", [2, 2, 2, 2]),
    "resnetblur50": ("bottleneck", [3, 4, 6, 3]),
}


def _classes_of(name: str, given: Any) -> list[tuple[int, str]]:
    """Number and name of each class in `id2label` or `label2id`. Numbers may be words, as JSON's keys are."""
    example, other = {
        "id2label": ("{0: 'cat', 1: 'dog'}", "label2id"),
        "label2id": ("{'cat': 0, 'dog': 1}", "id2label"),
    }[name]
    wanted = f"{name} must be like {example}, with numbers from 0 on and names as text; "
    if not isinstance(given, Mapping):
        is_list = name == "id2label" and isinstance(given, list | tuple)
        hint = ": dict(enumerate(names)) makes one of a list" if is_list else ""
        raise ValueError(f"{wanted}got {given!r:.80}{hint}")
    classes = []
    for key, value in given.items():
        index, label = (key, value) if name == "id2label" else (value, key)
        number = _number_of_class(index)
        if number is None or not isinstance(label, str):
            is_swapped = number is None and _number_of_class(label) is not None
            hint = f": that is the other way round, give it as {other}" if is_swapped else ""
            raise ValueError(f"{wanted}got {{{key!r:.80}: {value!r:.80}}}{hint}")
        classes.append((number, label))
    return classes


def _number_of_class(index: Any) -> int | None:
    """None if it is no whole number, nor the word for one."""
    try:
        return int(index) if isinstance(index, str) else operator.index(index)
    except (TypeError, ValueError):
        return None


@strict
class ResNet50Config(BackboneConfigMixin, PreTrainedConfig):
    """
    Architecture of a ResNet (He et al. 2015, "Deep Residual Learning for Image Recognition").

    The defaults give ResNet-50 "v1.5" for ImageNet-1K: 25,557,032 parameters, downsampling in each block's 3×3
    convolution, as in torchvision, timm and NVIDIA's reference. Everything else is a variant:

    Args:
        num_channels: channels of the input image.
        embedding_size: output channels of the stem.
        hidden_sizes: output channels of each stage. A bottleneck's inner width is a quarter of it.
        depths: number of blocks in each stage. `[3, 4, 23, 3]` is ResNet-101, `[3, 8, 36, 3]` ResNet-152.
        layer_type: `"bottleneck"`, or `"basic"`: two 3×3 convolutions, for ResNet-18 (`depths=[2, 2, 2, 2]`) and
            ResNet-34 (`[3, 4, 6, 3]`), both with `hidden_sizes=[64, 128, 256, 512]`.
        stem_type: `"imagenet"`: 7×7 convolution of stride 2, then max pooling of stride 2. `"deep"`: three 3×3
            convolutions in place of the 7×7 (ResNet-C and -D; He et al. 2018, "Bag of Tricks"). `"cifar"`: one 3×3
            convolution of stride 1 and no pooling, for images of about 32 pixels.
        avg_down: average pooling before the shortcut's 1×1 convolution, instead of a stride in it. With
            `stem_type="deep"` this is ResNet-D.
        blur_pool: low-pass filter before subsampling (Zhang 2019, "Making Convolutional Networks Shift-Invariant
            Again").
        downsample_in_bottleneck: stride in a bottleneck's first 1×1 convolution, as in the paper ("v1").
        output_stride: how much smaller the last feature map is than the image: 32, 16 or 8. The strides left out
            become dilation (Chen et al. 2017, DeepLab v3), for dense prediction.
        hidden_act: activation, by transformers' name: `"relu"`, `"silu"`, `"gelu"`, …
        global_pool: `"avg"`, `"max"`, `"avgmax"` (their mean) or `"catavgmax"` (both, one after the other).
        drop_path_rate: probability that the last block's residual branch is skipped for an image in training; earlier
            blocks linearly less (Huang et al. 2016, "Deep Networks with Stochastic Depth").
        batch_norm_momentum: share of the new batch in the running statistics.
        batch_norm_eps: added to the variance.
        batch_norm_folded: the convolutions have a bias and there is no BatchNorm. For inference, made from a trained
            model by `resnet50 export --fold_bn`.
        zero_init_residual: start each block's last BatchNorm weight at 0, so that the block begins as the identity
            (Goyal et al. 2017, "Accurate, Large Minibatch SGD").
        pretrained_cfg: how images are prepared, in timm's terms (`input_size`, `mean`, `std`, `interpolation`,
            `crop_pct`), for whoever opens the model with timm. transformers reads preprocessor_config.json instead.
            Classes that have a code beside their name: `label_names` and `label_descriptions`, as timm has them.
        confidence_threshold: below which probability of the likeliest class "none" is the better answer, and how that
            was found: `threshold`, `wanted_precision`, `precision`, `coverage`, `images`, `dataset`, …. Other classes
            in `id2label` have none.
        out_features, out_indices: which of `"stem"`, `"stage1"`, … the backbone returns. Default: the last stage.

    The number of classes is `num_labels` (default 1000) or, with names, that of `id2label`, or of `label2id` alone.

    Raises:
        StrictDataclassError: a field has the wrong type, or fields do not fit each other.
        ValueError: `id2label` or `label2id` are no names of the classes 0, 1, 2, ….
    """

    model_type = "resnet50"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: list[int] | tuple[int, ...] = (256, 512, 1024, 2048)
    depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    layer_type: Literal["bottleneck", "basic"] = "bottleneck"
    stem_type: Literal["imagenet", "deep", "cifar"] = "imagenet"
    avg_down: bool = False
    blur_pool: bool = False
    downsample_in_bottleneck: bool = False
    output_stride: Literal[8, 16, 32] = 32
    hidden_act: str = "relu"
    global_pool: Literal["avg", "max", "avgmax", "catavgmax"] = "avg"
    drop_path_rate: float = 0.0
    batch_norm_momentum: float = 0.1
    batch_norm_eps: float = 1e-5
    batch_norm_folded: bool = False
    zero_init_residual: bool = False
    pretrained_cfg: dict[str, Any] | None = None
    confidence_threshold: dict[str, Any] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name in _DERIVED:
            kwargs.pop(name, None)
        if self.id2label is None and self.label2id:
            self.id2label = {int(index): label for label, index in self.label2id.items()}
        if self.id2label is None:
            kwargs.setdefault("num_labels", 1000)
        kwargs.setdefault("auto_map", dict(AUTO_MAP))
        self.hidden_sizes = list(self.hidden_sizes)
        self.depths = list(self.depths)
        self.stage_names = ["stem", *(f"stage{stage + 1}" for stage in range(len(self.depths)))]
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        super().__post_init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        # transformers sets each of the two for itself: given `id2label` alone, `label2id` keeps the classes of before;
        # and of numbers that are words, as its example gives them, pipelines find none.
        if name == "id2label" and value is not None:
            value = dict(classes := _classes_of(name, value))
            unnamed = sorted(set(range(len(classes))) - set(value))
            if unnamed:
                last = len(classes) - 1
                raise ValueError(f"id2label must number its classes from 0 to {last}, and {unnamed[0]} is not there")
            super().__setattr__("label2id", {label: index for index, label in value.items()})
            if value != (getattr(self, "id2label", None) or value):  # a model for other classes begins
                super().__setattr__("confidence_threshold", None)
        elif name == "label2id" and value is not None:
            value = {label: number for number, label in _classes_of(name, value)}
        super().__setattr__(name, value)

    def to_dict(self) -> dict[str, Any]:
        """As transformers', and beside it what timm and `AutoImageProcessor` look for in config.json."""
        fields = {**super().to_dict(), **self._timm_fields(), "image_processor_type": "BitImageProcessor"}
        if self.confidence_threshold is None:  # as most models have none
            fields.pop("confidence_threshold", None)
        return fields

    def to_diff_dict(self) -> dict[str, Any]:
        # transformers leaves two unnamed labels out of config.json, because two is its default; here it is 1000.
        return {**super().to_diff_dict(), "id2label": self.id2label, "label2id": self.label2id}

    def class_codes(self) -> list[str] | None:
        """
        What data may call the classes instead: timm's `label_names`, where its `label_descriptions` are the names in
        `id2label`. None: there are none, or they are those of other classes.
        """
        cfg = self.pretrained_cfg or {}
        codes, descriptions = cfg.get("label_names"), cfg.get("label_descriptions")
        if not codes or not descriptions or self.id2label is None:
            return None
        words = {index: descriptions.get(code) for index, code in enumerate(codes)}
        return list(codes) if words == self.id2label else None

    def _timm_fields(self) -> dict[str, Any]:
        """timm's part of config.json: `architecture`, `model_args`, …; nothing if timm has no such architecture."""
        deep = self.stem_type == "deep"
        if (
            len(self.depths) != 4
            or self.stem_type == "cifar"
            or self.downsample_in_bottleneck
            or self.batch_norm_folded
            or self.batch_norm_eps != 1e-5
            or self.hidden_act not in ("relu", "silu", "gelu")
            or (self.embedding_size % 2 if deep else self.embedding_size != 64)
        ):
            return {}
        expansion = 4 if self.layer_type == "bottleneck" else 1
        family = "resnetblur" if self.blur_pool else "resnet"
        name = family + ("50" if self.layer_type == "bottleneck" else "18")
        for candidate, built in _TIMM_ARCHITECTURES.items():
            if built == (self.layer_type, self.depths) and candidate.rstrip("0123456789") == family:
                name = candidate
        differing = {
            "layers": (self.depths, _TIMM_ARCHITECTURES[name][1]),
            "channels": ([size // expansion for size in self.hidden_sizes], [64, 128, 256, 512]),
            "in_chans": (self.num_channels, 3),
            "stem_type": ("deep" if deep else "", ""),
            "stem_width": (self.embedding_size // 2 if deep else 64, 64),
            "avg_down": (self.avg_down, False),
            "output_stride": (self.output_stride, 32),
            "act_layer": (self.hidden_act, "relu"),
            "global_pool": (self.global_pool, "avg"),
        }
        preparation = dict(self.pretrained_cfg or {})
        if self.class_codes() is None:
            for key in ("label_names", "label_descriptions"):
                preparation.pop(key, None)
        return {
            "architecture": name,
            "model_args": {key: value for key, (value, default) in differing.items() if value != default},
            "num_classes": self.num_labels,
            "num_features": self.hidden_sizes[-1],
            "pretrained_cfg": {
                **DEFAULT_PRETRAINED_CFG,
                **preparation,
                "num_classes": self.num_labels,
                "first_conv": "conv1.0" if deep else "conv1",
                "classifier": "fc",
            },
        }

    def validate_stages(self) -> None:
        """Every stage needs a width and at least one block, and a width must divide into the bottleneck's quarter."""
        if not self.depths or len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"hidden_sizes and depths need one entry per stage, got {self.hidden_sizes} and {self.depths}"
            )
        if min(self.depths) < 1:
            raise ValueError(f"every stage needs at least one block, got depths={self.depths}")
        divisor = 4 if self.layer_type == "bottleneck" else 1
        if any(size < divisor or size % divisor for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive multiples of {divisor}, got {self.hidden_sizes}")
        if self.stem_type == "deep" and self.embedding_size % 2:
            raise ValueError(f"the deep stem needs an even embedding_size, got {self.embedding_size}")

    def validate_variant(self) -> None:
        """Values in their ranges, and no two options that contradict each other."""
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act {self.hidden_act!r} is not among {', '.join(ACT2FN)}")
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1), got {self.drop_path_rate}")
        if not 0 < self.batch_norm_momentum <= 1 or self.batch_norm_eps <= 0:
            raise ValueError(
                "batch_norm_momentum must be in (0, 1] and batch_norm_eps positive, "
                f"got {self.batch_norm_momentum} and {self.batch_norm_eps}"
            )
        if self.downsample_in_bottleneck and (self.layer_type == "basic" or self.blur_pool):
            raise ValueError("downsample_in_bottleneck needs bottleneck blocks, and goes without blur_pool")
        if self.batch_norm_folded and self.zero_init_residual:
            raise ValueError("zero_init_residual needs BatchNorm, which batch_norm_folded takes away")


__all__ = ["ResNet50Config"]
