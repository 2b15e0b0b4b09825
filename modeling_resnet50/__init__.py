"""ResNet-50, native to the Hugging Face ecosystem. Importing this package registers it with the Auto classes."""

from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForImageClassification

from .configuration_resnet50 import ResNet50Config
from .modeling_resnet50 import (
    ResNet50Backbone,
    ResNet50ForImageClassification,
    ResNet50Model,
    ResNet50PreTrainedModel,
)


__version__ = "0.1.0"

AutoConfig.register("resnet50", ResNet50Config)
AutoModel.register(ResNet50Config, ResNet50Model)
AutoModelForImageClassification.register(ResNet50Config, ResNet50ForImageClassification)
AutoBackbone.register(ResNet50Config, ResNet50Backbone)

# From now on `save_pretrained` and `push_to_hub` put a copy of the code beside the weights.
ResNet50Config.register_for_auto_class()
ResNet50Model.register_for_auto_class("AutoModel")
ResNet50ForImageClassification.register_for_auto_class("AutoModelForImageClassification")
ResNet50Backbone.register_for_auto_class("AutoBackbone")

__all__ = [
    "ResNet50Backbone",
    "ResNet50Config",
    "ResNet50ForImageClassification",
    "ResNet50Model",
    "ResNet50PreTrainedModel",
]
