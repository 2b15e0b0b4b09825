"""How good a model is: metrics as `evaluate` modules, the loop that feeds them, and what the numbers are worth."""

from .metrics.cross_entropy.cross_entropy import CrossEntropy
from .metrics.expected_calibration_error.expected_calibration_error import ExpectedCalibrationError
from .metrics.real_accuracy.real_accuracy import RealAccuracy
from .metrics.topk_accuracy.topk_accuracy import TopKAccuracy


__all__ = ["CrossEntropy", "ExpectedCalibrationError", "RealAccuracy", "TopKAccuracy"]
