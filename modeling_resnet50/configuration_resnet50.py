"""Configuration of ResNet-50: the architecture and nothing else. Travels to the Hub with the weights."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# Saved with every checkpoint, so that each Auto class finds its code in the checkpoint's own folder.
AUTO_MAP = {
    "AutoConfig": "configuration_resnet50.ResNet50Config",
    "AutoModel": "modeling_resnet50.ResNet50Model",
    "AutoModelForImageClassification": "modeling_resnet50.ResNet50ForImageClassification",
}


@strict
class ResNet50Config(PreTrainedConfig):
    """
    Architecture of a ResNet with bottleneck blocks (He et al. 2015, "Deep Residual Learning for Image Recognition").

    The defaults give ResNet-50 "v1.5" for ImageNet-1K: 25,557,032 parameters, downsampling in each block's 3×3
    convolution, as in torchvision, timm and NVIDIA's reference.

    Args:
        num_channels: channels of the input image.
        embedding_size: output channels of the stem.
        hidden_sizes: output channels of each stage. A block's inner width is a quarter of it.
        depths: number of bottleneck blocks in each stage.
        stem_type: `"imagenet"`: 7×7 convolution of stride 2, then max pooling of stride 2. `"cifar"`: one 3×3
            convolution of stride 1 and no pooling, for images of about 32 pixels.
        zero_init_residual: start each block's last BatchNorm weight at 0, so that the block begins as the identity
            (Goyal et al. 2017, "Accurate, Large Minibatch SGD").

    The number of classes is `num_labels` (default 1000) or, with names, `id2label`.

    Raises:
        StrictDataclassError: a field has the wrong type, or `hidden_sizes` and `depths` do not fit each other.
    """

    model_type = "resnet50"

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: list[int] | tuple[int, ...] = (256, 512, 1024, 2048)
    depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    stem_type: Literal["imagenet", "cifar"] = "imagenet"
    zero_init_residual: bool = False

    def __post_init__(self, **kwargs):
        if self.id2label is None:
            kwargs.setdefault("num_labels", 1000)
        kwargs.setdefault("auto_map", dict(AUTO_MAP))
        self.hidden_sizes = list(self.hidden_sizes)
        self.depths = list(self.depths)
        super().__post_init__(**kwargs)

    def to_diff_dict(self):
        # transformers leaves two unnamed labels out of config.json, because two is its default; here it is 1000.
        return {**super().to_diff_dict(), "id2label": self.id2label, "label2id": self.label2id}

    def validate_stages(self):
        """Every stage needs a width and at least one block, and a width must divide into the bottleneck's quarter."""
        if not self.depths or len(self.hidden_sizes) != len(self.depths):
            raise ValueError(
                f"hidden_sizes and depths need one entry per stage, got {self.hidden_sizes} and {self.depths}"
            )
        if min(self.depths) < 1:
            raise ValueError(f"every stage needs at least one block, got depths={self.depths}")
        if any(size < 4 or size % 4 for size in self.hidden_sizes):
            raise ValueError(f"hidden_sizes must be positive multiples of 4, got {self.hidden_sizes}")


__all__ = ["ResNet50Config"]
