"""How good a model is: metrics as `evaluate` modules, and the loop that feeds them."""

from .metrics.cross_entropy.cross_entropy import CrossEntropy
from .metrics.topk_accuracy.topk_accuracy import TopKAccuracy


__all__ = ["CrossEntropy", "TopKAccuracy"]
