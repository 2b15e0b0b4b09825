"""
ResNet-50 as a transformers model. Travels to the Hub with the weights, so it imports only its configuration.

Parameter names are torchvision's and timm's (`conv1.weight`, `layer1.0.conv1.weight`, …, `fc.weight`): the saved
`model.safetensors` is at the same time a torchvision state dict. That is why the classifier is not a wrapper around
the base model: an inner `self.resnet50` would put a prefix before every name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.backbone_utils import BackboneMixin, filter_output_hidden_states
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)
from transformers.utils import can_return_tuple

from .configuration_resnet50 import ResNet50Config


def _convolution(
    config: ResNet50Config, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any
) -> nn.Conv2d:
    """A convolution that keeps the size at stride 1. It has a bias only where it has taken a BatchNorm in."""
    padding = kernel_size // 2 * kwargs.get("dilation", 1)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=config.batch_norm_folded, **kwargs)


def _batch_norm(config: ResNet50Config, channels: int) -> nn.Module:
    if config.batch_norm_folded:
        return nn.Identity()
    return nn.BatchNorm2d(channels, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum)


def _activation(config: ResNet50Config) -> nn.Module:
    return nn.ReLU(inplace=True) if config.hidden_act == "relu" else ACT2FN[config.hidden_act]


class ResNet50BlurPool(nn.Module):
    """
    Blur with the binomial filter [1 2 1] in both directions, then subsample (Zhang 2019).

    Input `(batch, channels, height, width)`. The filter is two averages over 2×2 pixels, one after the other, which
    need no weights: buffers that are not saved would be lost where transformers builds models without memory.
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, hidden_state: Tensor) -> Tensor:
        hidden_state = nn.functional.pad(hidden_state, (1, 1, 1, 1), mode="reflect")
        hidden_state = nn.functional.avg_pool2d(hidden_state, kernel_size=2, stride=1)
        return nn.functional.avg_pool2d(hidden_state, kernel_size=2, stride=self.stride)


class ResNet50DropPath(nn.Module):
    """Leaves the residual branch out for a random part of the batch (Huang et al. 2016), in training only."""

    def __init__(self, drop_probability: float):
        super().__init__()
        self.keep_probability = 1 - drop_probability

    def forward(self, hidden_state: Tensor) -> Tensor:
        if not self.training:
            return hidden_state
        kept = hidden_state.new_empty((len(hidden_state), 1, 1, 1)).bernoulli_(self.keep_probability)
        return hidden_state * kept.div_(self.keep_probability)  # divided, so that the mean stays

    def extra_repr(self) -> str:
        return f"drop_probability={1 - self.keep_probability:.3f}"


class ResNet50Pool(nn.Module):
    """Global pooling: `(batch, channels, height, width)` to `(batch, channels)`, twice as many for `catavgmax`."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, hidden_state: Tensor) -> Tensor:
        if self.kind == "avg":
            return nn.functional.adaptive_avg_pool2d(hidden_state, 1).flatten(1)
        maximum = hidden_state.amax((2, 3))
        if self.kind == "max":
            return maximum
        average = nn.functional.adaptive_avg_pool2d(hidden_state, 1).flatten(1)
        return (average + maximum) / 2 if self.kind == "avgmax" else torch.cat([average, maximum], dim=1)


class ResNet50Block(nn.Module):
    """
    What both kinds of blocks share: the sum of a residual branch and a shortcut.

    Input `(batch, in_channels, height, width)`, output `(batch, out_channels, height / stride, width / stride)`.

    Args:
        config: the architecture.
        in_channels, out_channels: as in the shapes above.
        stride: subsampling in this block.
        dilation: of the 3×3 convolutions; more than 1 where `output_stride` has replaced strides.
        first_dilation: that of the block's first 3×3 convolution, which still follows the stage before.
        drop_path_rate: probability to skip the residual branch.
    """

    gradient_checkpointing = False  # transformers sets it, and with it the function that does it
    _gradient_checkpointing_func: Callable[..., Tensor]

    def __init__(
        self,
        config: ResNet50Config,
        in_channels: int,
        out_channels: int,
        stride: int,
        dilation: int = 1,
        first_dilation: int = 1,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        blurs = config.blur_pool and (stride == 2 or first_dilation != dilation)
        self.blur = ResNet50BlurPool(stride) if blurs else nn.Identity()
        self._build_branch(config, in_channels, out_channels, 1 if blurs else stride, dilation, first_dilation)
        self.activation = _activation(config)
        self.drop_path = ResNet50DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = self._build_shortcut(config, in_channels, out_channels, stride, dilation)

    def _build_branch(
        self,
        config: ResNet50Config,
        in_channels: int,
        out_channels: int,
        stride: int,
        dilation: int,
        first_dilation: int,
    ) -> None:
        raise NotImplementedError

    def _branch(self, hidden_state: Tensor) -> Tensor:
        raise NotImplementedError

    def _build_shortcut(
        self, config: ResNet50Config, in_channels: int, out_channels: int, stride: int, dilation: int
    ) -> nn.Sequential:
        norm = _batch_norm(config, out_channels)
        pool: nn.Module
        if not config.avg_down:
            return nn.Sequential(_convolution(config, in_channels, out_channels, 1, stride=stride), norm)
        if dilation > 1:  # no stride left, but timm pools all the same: over the pixel and its right and lower ones
            pool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, stride=1))
        elif stride > 1:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
        else:
            pool = nn.Identity()
        return nn.Sequential(pool, _convolution(config, in_channels, out_channels, 1), norm)

    def forward(self, hidden_state: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            if hidden_state.requires_grad:
                return self._gradient_checkpointing_func(partial(self._once_or_more, count()), hidden_state)
            if any(parameter.requires_grad for parameter in self.parameters()):
                # All before this block is frozen, and re-entrant checkpointing would leave the block untrained, unless
                # something else that is given to it has a gradient.
                anchor = hidden_state.new_empty(0).requires_grad_()
                return self._gradient_checkpointing_func(partial(self._once_or_more, count()), hidden_state, anchor)
        return self._sum(hidden_state)

    def _once_or_more(self, runs: Iterator[int], hidden_state: Tensor, _: Tensor | None = None) -> Tensor:
        # The runs after the first are the backward pass's, of the same batch, which BatchNorm must not count again.
        # They are counted here: `context_fn` is refused by re-entrant checkpointing, and by torch.compile.
        with nullcontext() if next(runs) == 0 else _buffers_put_aside(self):
            return self._sum(hidden_state)

    def _sum(self, hidden_state: Tensor) -> Tensor:
        shortcut = hidden_state if self.downsample is None else self.downsample(hidden_state)
        return self.activation(self.drop_path(self._branch(hidden_state)) + shortcut)


class ResNet50Bottleneck(ResNet50Block):
    """1×1 convolution to reduce, 3×3 to process (and downsample: "v1.5"), 1×1 to restore."""

    def _build_branch(
        self,
        config: ResNet50Config,
        in_channels: int,
        out_channels: int,
        stride: int,
        dilation: int,
        first_dilation: int,
    ) -> None:
        inner = out_channels // 4
        strides = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
        self.conv1 = _convolution(config, in_channels, inner, 1, stride=strides[0])
        self.bn1 = _batch_norm(config, inner)
        self.conv2 = _convolution(config, inner, inner, 3, stride=strides[1], dilation=first_dilation)
        self.bn2 = _batch_norm(config, inner)
        self.conv3 = _convolution(config, inner, out_channels, 1)
        self.bn3 = _batch_norm(config, out_channels)
        # The block itself owns no parameter, and `_init_weights` never sees a module that owns none: the mark for
        # `zero_init_residual` has to sit on the BatchNorm.
        self.bn3.ends_residual_branch = True  # type: ignore[assignment]  # a mark, neither tensor nor module

    def _branch(self, hidden_state: Tensor) -> Tensor:
        hidden_state = self.activation(self.bn1(self.conv1(hidden_state)))
        hidden_state = self.blur(self.activation(self.bn2(self.conv2(hidden_state))))
        return self.bn3(self.conv3(hidden_state))


class ResNet50BasicBlock(ResNet50Block):
    """Two 3×3 convolutions, the block of ResNet-18 and ResNet-34."""

    def _build_branch(
        self,
        config: ResNet50Config,
        in_channels: int,
        out_channels: int,
        stride: int,
        dilation: int,
        first_dilation: int,
    ) -> None:
        self.conv1 = _convolution(config, in_channels, out_channels, 3, stride=stride, dilation=first_dilation)
        self.bn1 = _batch_norm(config, out_channels)
        self.conv2 = _convolution(config, out_channels, out_channels, 3, dilation=dilation)
        self.bn2 = _batch_norm(config, out_channels)
        self.bn2.ends_residual_branch = True  # type: ignore[assignment]  # as above

    def _branch(self, hidden_state: Tensor) -> Tensor:
        hidden_state = self.blur(self.activation(self.bn1(self.conv1(hidden_state))))
        return self.bn2(self.conv2(hidden_state))


class ResNet50PreTrainedModel(PreTrainedModel):
    """Weight initialisation, and what transformers needs to know about the family."""

    config: ResNet50Config
    config_class = ResNet50Config
    base_model_prefix = ""  # flat names: base model and classifier share their keys
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # type: ignore[assignment]  # as transformers' own models have it
    supports_gradient_checkpointing = True
    _no_split_modules = ["ResNet50Bottleneck", "ResNet50BasicBlock"]
    _input_embed_layer = "conv1"  # transformers asks for it before torchao quantises

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Convolutions: Kaiming fan-out (He et al. 2015). Linear: PyTorch's own default, uniform in ±1/sqrt(fan_in),
        # as torchvision and timm leave it. The `init` functions skip tensors that came from a checkpoint.
        # Layers with and without a bias: folded models have one, and so may what others add to these classes.
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.BatchNorm2d):
            starts_at_zero = self.config.zero_init_residual and getattr(module, "ends_residual_branch", False)
            init.constant_(module.weight, 0.0 if starts_at_zero else 1.0)
            init.zeros_(module.bias)
            for statistic in (module.running_mean, module.running_var, module.num_batches_tracked):
                assert statistic is not None
                (init.ones_ if statistic is module.running_var else init.zeros_)(statistic)

    def _build_trunk(self, config: ResNet50Config) -> None:
        """Stem, stages and pooling. Set on the model itself, not on a submodule, to keep the names flat."""
        channels, width = config.num_channels, config.embedding_size
        if config.stem_type == "deep":
            self.conv1: nn.Module = nn.Sequential(
                _convolution(config, channels, width // 2, 3, stride=2),
                _batch_norm(config, width // 2),
                _activation(config),
                _convolution(config, width // 2, width // 2, 3),
                _batch_norm(config, width // 2),
                _activation(config),
                _convolution(config, width // 2, width, 3),
            )
        elif config.stem_type == "imagenet":
            self.conv1 = _convolution(config, channels, width, 7, stride=2)
        else:
            self.conv1 = _convolution(config, channels, width, 3)
        self.bn1 = _batch_norm(config, width)
        self.activation = _activation(config)
        if config.stem_type == "cifar":
            self.maxpool: nn.Module = nn.Identity()
        elif config.blur_pool:
            self.maxpool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), ResNet50BlurPool(stride=2))
        else:
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)

        block_type = ResNet50Bottleneck if config.layer_type == "bottleneck" else ResNet50BasicBlock
        drop_path_rates = torch.linspace(0, config.drop_path_rate, sum(config.depths), device="cpu").tolist()
        in_channels = width
        total_stride = 1 if config.stem_type == "cifar" else 4
        dilation = 1
        for stage, (out_channels, depth) in enumerate(zip(config.hidden_sizes, config.depths)):
            first_dilation = dilation
            stride = 1 if stage == 0 else 2
            if total_stride * stride > config.output_stride:
                dilation, stride = dilation * stride, 1
            total_stride *= stride
            blocks = []
            for index in range(depth):
                blocks.append(
                    block_type(
                        config,
                        in_channels,
                        out_channels,
                        stride=stride if index == 0 else 1,
                        dilation=dilation,
                        first_dilation=first_dilation if index == 0 else dilation,
                        drop_path_rate=drop_path_rates.pop(0),
                    )
                )
                in_channels = out_channels
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.pool = ResNet50Pool(config.global_pool)

    def _run_trunk(self, pixel_values: Tensor, keep_all: bool | None) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """The last feature map and, if wanted, those after the stem and after each stage. None: as configured."""
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"pixel_values must have shape (batch, {self.config.num_channels}, height, width), "
                f"got {tuple(pixel_values.shape)}"
            )
        if not pixel_values.is_floating_point():
            raise ValueError(
                f"pixel_values must be normalised, as the image processor gives them, not {pixel_values.dtype}"
            )
        # Weights of 16 bits take the processor's float32, as under Trainer's `bf16_full_eval`.
        first: Any = self.conv1[0] if isinstance(self.conv1, nn.Sequential) else self.conv1
        if pixel_values.dtype != first.weight.dtype:  # asked first, as exported graphs would have a conversion more
            pixel_values = pixel_values.to(first.weight.dtype)
        keep_all = self.config.output_hidden_states if keep_all is None else keep_all
        hidden_state = self.maxpool(self.activation(self.bn1(self.conv1(pixel_values))))
        kept = [hidden_state] if keep_all else []
        for stage in range(len(self.config.depths)):
            hidden_state = getattr(self, f"layer{stage + 1}")(hidden_state)
            if keep_all:
                kept.append(hidden_state)
        return hidden_state, tuple(kept) if keep_all else None

    def _set_gradient_checkpointing(
        self,
        enable: bool = True,
        gradient_checkpointing_func: Callable[..., Any] = checkpoint,
        every_n_layers: int = 1,  # new in transformers 5.23, which counts no layers but its own
    ) -> None:
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func)
        blocks = [module for module in self.modules() if isinstance(module, ResNet50Block)]
        for index, block in enumerate(blocks):
            block.gradient_checkpointing = enable and index % every_n_layers == 0


@contextmanager
def _buffers_put_aside(block: nn.Module) -> Iterator[None]:
    """Within it, the block's BatchNorms update a copy of their running statistics, to be thrown away."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    originals = [dict(norm.named_buffers()) for norm in norms]
    try:
        for norm, buffers in zip(norms, originals):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, buffers in zip(norms, originals):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


class ResNet50Model(ResNet50PreTrainedModel):
    """
    ResNet-50 without the classifier.

    Returns `last_hidden_state` `(batch, 2048, height / 32, width / 32)` and `pooler_output` `(batch, 2048, 1, 1)` (the
    shape that transformers' own ResNet gives); with `output_hidden_states=True` also the stem's and each stage's map.
    """

    # The classifier's weights, when a classification checkpoint is opened as a feature extractor.
    _keys_to_ignore_on_load_unexpected = [r"^fc\."]

    def __init__(self, config: ResNet50Config):
        super().__init__(config)
        self._build_trunk(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPoolingAndNoAttention:
        last_hidden_state, hidden_states = self._run_trunk(pixel_values, output_hidden_states)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=last_hidden_state,
            pooler_output=self.pool(last_hidden_state)[:, :, None, None],
            hidden_states=hidden_states,
        )


class ResNet50ForImageClassification(ResNet50PreTrainedModel):
    """
    ResNet-50 with its linear classifier.

    Args of `forward`:
        pixel_values: normalised images, `(batch, num_channels, height, width)`, of any floating point type.
        labels: class indices `(batch,)`, or class probabilities `(batch, num_labels)` as mixup makes them. When given,
            `loss` is their mean cross-entropy. With `config.problem_type = "multi_label_classification"` they are 0 or
            1 for each class, `(batch, num_labels)`, and `loss` is the mean binary cross-entropy of all of them.

    Returns `logits` `(batch, num_labels)`, `loss`, and `hidden_states` on request.

    Raises:
        ValueError: images of another shape, or of integers. Or labels are given, and the model has nothing to tell
            apart: `problem_type` is `"regression"`, or there is a single label without `problem_type`. Or they mark
            several classes, and `problem_type` does not say so.
    """

    # The loss is the mean of the batch that is given: transformers' Trainer divides it by the accumulation steps
    # itself. Otherwise, as `forward` takes any keyword, it would count on a loss that is divided already.
    accepts_loss_kwargs = False

    def __init__(self, config: ResNet50Config):
        super().__init__(config)
        self._build_trunk(config)
        num_features = config.hidden_sizes[-1] * (2 if config.global_pool == "catavgmax" else 1)
        num_labels: Any = config.num_labels  # which transformers annotates as if it could be missing
        self.fc = nn.Linear(num_features, num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> ImageClassifierOutputWithNoAttention:
        last_hidden_state, hidden_states = self._run_trunk(pixel_values, output_hidden_states)
        logits = self.fc(self.pool(last_hidden_state))
        loss = None if labels is None else self._loss(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=hidden_states)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        # Not `self.loss_function`: that would write `problem_type` into the configuration, to be saved with it, and
        # take class probabilities for a multi-label task.
        problem_type = self.config.problem_type
        if problem_type == "multi_label_classification":
            return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        if problem_type == "regression":
            raise ValueError(
                "problem_type 'regression' has no loss here: this model tells classes apart "
                "('single_label_classification') or marks them ('multi_label_classification')"
            )
        if self.config.num_labels == 1:
            raise ValueError(
                "a single class leaves nothing to learn: num_labels=2, or problem_type='multi_label_classification'"
            )
        if labels.ndim > 1 and not torch.compiler.is_compiling():  # to look at numbers would break a compiled graph
            shares = labels.float().sum(-1)
            if not (labels.is_floating_point() and torch.allclose(shares, torch.ones_like(shares), atol=0.01)):
                raise ValueError(
                    "labels for each class must be probabilities that add up to 1; if they mark several classes, set "
                    "config.problem_type = 'multi_label_classification'"
                )
        return nn.functional.cross_entropy(logits, labels)


class ResNet50Backbone(BackboneMixin, ResNet50PreTrainedModel):
    """
    ResNet-50 as the backbone of a detector or segmenter.

    Returns `feature_maps`, one `(batch, channels, height, width)` for each of `config.out_features`.
    """

    has_attentions = False
    _keys_to_ignore_on_load_unexpected = [r"^fc\."]

    def __init__(self, config: ResNet50Config):
        super().__init__(config)
        self.num_features = [config.embedding_size, *config.hidden_sizes]
        self._build_trunk(config)
        self.post_init()

    @can_return_tuple
    @filter_output_hidden_states
    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs: Any) -> BackboneOutput:
        _, hidden_states = self._run_trunk(pixel_values, keep_all=True)
        assert hidden_states is not None  # as they were asked for
        feature_maps: Any = tuple(  # which transformers annotates as a tuple of one
            hidden_state for name, hidden_state in zip(self.stage_names, hidden_states) if name in self.out_features
        )
        return BackboneOutput(feature_maps=feature_maps, hidden_states=hidden_states)


__all__ = ["ResNet50Backbone", "ResNet50ForImageClassification", "ResNet50Model", "ResNet50PreTrainedModel"]
