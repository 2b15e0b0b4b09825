"""BatchNorm folded into the convolutions before it: the same function for inference, with less to compute."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..modeling_resnet50 import ResNet50ForImageClassification


@torch.no_grad()
def fold_batch_norm(model: ResNet50ForImageClassification) -> ResNet50ForImageClassification:
    """
    A copy of the model whose convolutions have taken in the BatchNorm that follows them.

    In evaluation mode BatchNorm is a fixed scale and shift for each channel, which the convolution's weights and a
    bias can express. The result is for inference: trained further, it would have no normalisation.

    Args:
        model: trained. Left as it is.

    Returns:
        A model in evaluation mode with `config.batch_norm_folded`, on the same device and of the same dtype.
    """
    if model.config.batch_norm_folded:
        return copy.deepcopy(model).eval()
    config = copy.deepcopy(model.config)
    config.zero_init_residual = False
    config.batch_norm_folded = True
    state = {name: value for name, value in model.state_dict().items() if name.startswith("fc.")}
    convolution_name, convolution = None, None
    for name, module in model.named_modules():  # in the order of definition: each BatchNorm follows its convolution
        if isinstance(module, nn.Conv2d):
            convolution_name, convolution = name, module
        elif isinstance(module, nn.BatchNorm2d):
            mean, variance = module.running_mean, module.running_var
            assert convolution is not None
            assert mean is not None
            assert variance is not None
            weight, bias = fuse_conv_bn_weights(
                convolution.weight.float(),  # of half precision, the products are rounded once
                None,
                mean.float(),
                variance.float(),
                module.eps,
                module.weight.float(),
                module.bias.float(),
            )
            state |= {f"{convolution_name}.weight": weight.detach(), f"{convolution_name}.bias": bias.detach()}
    folded = type(model)(config).eval()
    nn.Module.to(folded, model.device, model.dtype)
    folded.load_state_dict(state)
    return folded
