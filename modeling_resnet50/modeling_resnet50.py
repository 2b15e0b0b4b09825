"""
ResNet-50 as a transformers model. Travels to the Hub with the weights, so it imports only its configuration.

Parameter names are torchvision's and timm's (`conv1.weight`, `layer1.0.conv1.weight`, …, `fc.weight`): the saved
`model.safetensors` is at the same time a torchvision state dict. That is why the classifier is not a wrapper around
the base model: an inner `self.resnet50` would put a prefix before every name.
"""

from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndNoAttention,
    ImageClassifierOutputWithNoAttention,
)
from transformers.utils import can_return_tuple

from .configuration_resnet50 import ResNet50Config


class ResNet50Bottleneck(GradientCheckpointingLayer):
    """
    1×1 convolution to reduce, 3×3 to process (and downsample: "v1.5"), 1×1 to restore, plus the shortcut.

    Input `(batch, in_channels, height, width)`, output `(batch, out_channels, height / stride, width / stride)`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        inner_channels = out_channels // 4
        self.conv1 = nn.Conv2d(in_channels, inner_channels, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner_channels)
        self.conv2 = nn.Conv2d(inner_channels, inner_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner_channels)
        self.conv3 = nn.Conv2d(inner_channels, out_channels, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        # The block itself owns no parameter, and `_init_weights` never sees a module that owns none: the mark for
        # `zero_init_residual` has to sit on the BatchNorm.
        self.bn3.ends_residual_branch = True
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, hidden_state: Tensor) -> Tensor:
        shortcut = hidden_state if self.downsample is None else self.downsample(hidden_state)
        hidden_state = self.relu(self.bn1(self.conv1(hidden_state)))
        hidden_state = self.relu(self.bn2(self.conv2(hidden_state)))
        hidden_state = self.bn3(self.conv3(hidden_state))
        return self.relu(hidden_state + shortcut)


class ResNet50PreTrainedModel(PreTrainedModel):
    """Weight initialisation, and what transformers needs to know about the family."""

    config: ResNet50Config
    config_class = ResNet50Config
    base_model_prefix = ""  # flat names: base model and classifier share their keys
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["ResNet50Bottleneck"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        # Convolutions: Kaiming fan-out (He et al. 2015). Linear: PyTorch's own default, uniform in ±1/sqrt(fan_in),
        # as torchvision and timm leave it. The `init` functions skip tensors that came from a checkpoint.
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.BatchNorm2d):
            starts_at_zero = self.config.zero_init_residual and getattr(module, "ends_residual_branch", False)
            init.constant_(module.weight, 0.0 if starts_at_zero else 1.0)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)

    def _build_trunk(self, config: ResNet50Config):
        """Stem and stages. Set on the model itself, not on a submodule, to keep the names flat."""
        if config.stem_type == "imagenet":
            kernel_size, stride, pool = 7, 2, nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        else:
            kernel_size, stride, pool = 3, 1, nn.Identity()
        self.conv1 = nn.Conv2d(
            config.num_channels, config.embedding_size, kernel_size, stride, padding=kernel_size // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(config.embedding_size)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = pool

        in_channels = config.embedding_size
        for stage, (out_channels, depth) in enumerate(zip(config.hidden_sizes, config.depths)):
            blocks = [ResNet50Bottleneck(in_channels, out_channels, stride=1 if stage == 0 else 2)]
            blocks += [ResNet50Bottleneck(out_channels, out_channels, stride=1) for _ in range(depth - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            in_channels = out_channels
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def _run_trunk(self, pixel_values: Tensor, output_hidden_states: bool | None):
        """Last feature map, pooled features `(batch, hidden_sizes[-1])` and, on request, the map after each stage."""
        if pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            raise ValueError(
                f"pixel_values must have shape (batch, {self.config.num_channels}, height, width), "
                f"got {tuple(pixel_values.shape)}"
            )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        hidden_state = self.maxpool(self.relu(self.bn1(self.conv1(pixel_values))))
        hidden_states = [hidden_state]
        for stage in range(len(self.config.depths)):
            hidden_state = getattr(self, f"layer{stage + 1}")(hidden_state)
            hidden_states.append(hidden_state)
        pooled = self.avgpool(hidden_state).flatten(1)
        return hidden_state, pooled, tuple(hidden_states) if output_hidden_states else None

    def _set_gradient_checkpointing(self, enable=True, gradient_checkpointing_func=checkpoint, **kwargs):
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, **kwargs)
        # Checkpointing runs each block's forward twice; without these contexts BatchNorm would count the batch twice.
        for module in self.modules():
            if isinstance(module, ResNet50Bottleneck):
                module._gradient_checkpointing_func = partial(
                    gradient_checkpointing_func,
                    context_fn=lambda block=module: (nullcontext(), _buffers_put_aside(block)),
                )


@contextmanager
def _buffers_put_aside(block: nn.Module):
    """Within it, the block's BatchNorms update a copy of their running statistics, to be thrown away."""
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
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
    shape transformers' own ResNet gives); with `output_hidden_states=True` also the stem's and each stage's map.
    """

    # The classifier's weights, when a classification checkpoint is opened as a feature extractor.
    _keys_to_ignore_on_load_unexpected = [r"^fc\."]

    def __init__(self, config: ResNet50Config):
        super().__init__(config)
        self._build_trunk(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | None = None, **kwargs
    ) -> BaseModelOutputWithPoolingAndNoAttention:
        last_hidden_state, pooled, hidden_states = self._run_trunk(pixel_values, output_hidden_states)
        return BaseModelOutputWithPoolingAndNoAttention(
            last_hidden_state=last_hidden_state,
            pooler_output=pooled[:, :, None, None],
            hidden_states=hidden_states,
        )


class ResNet50ForImageClassification(ResNet50PreTrainedModel):
    """
    ResNet-50 with its linear classifier.

    Args of `forward`:
        pixel_values: normalised images, `(batch, num_channels, height, width)`.
        labels: class indices `(batch,)`, or class probabilities `(batch, num_labels)` as mixup makes them. When given,
            `loss` is their mean cross-entropy.

    Returns `logits` `(batch, num_labels)`, `loss`, and `hidden_states` on request.
    """

    def __init__(self, config: ResNet50Config):
        super().__init__(config)
        self._build_trunk(config)
        self.fc = nn.Linear(config.hidden_sizes[-1], config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> ImageClassifierOutputWithNoAttention:
        _, pooled, hidden_states = self._run_trunk(pixel_values, output_hidden_states)
        logits = self.fc(pooled)
        # Not `self.loss_function`: that would write `problem_type` into the configuration, to be saved with it, and
        # take class probabilities for a multi-label task.
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=hidden_states)


__all__ = ["ResNet50ForImageClassification", "ResNet50Model", "ResNet50PreTrainedModel"]
