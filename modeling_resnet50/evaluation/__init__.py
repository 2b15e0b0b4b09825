"""How good a model is: metrics as `evaluate` modules, the loop that feeds them, and what the numbers are worth."""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .metrics.classification_report.classification_report import ClassificationReport
    from .metrics.confusion_matrix.confusion_matrix import ConfusionMatrix
    from .metrics.cross_entropy.cross_entropy import CrossEntropy
    from .metrics.expected_calibration_error.expected_calibration_error import ExpectedCalibrationError
    from .metrics.one_vs_rest_auc.one_vs_rest_auc import OneVsRestAUC
    from .metrics.real_accuracy.real_accuracy import RealAccuracy
    from .metrics.topk_accuracy.topk_accuracy import TopKAccuracy

__all__ = [
    "ClassificationReport",
    "ConfusionMatrix",
    "CrossEntropy",
    "ExpectedCalibrationError",
    "OneVsRestAUC",
    "RealAccuracy",
    "TopKAccuracy",
]

_MODULES = {
    "ClassificationReport": "classification_report",
    "ConfusionMatrix": "confusion_matrix",
    "CrossEntropy": "cross_entropy",
    "ExpectedCalibrationError": "expected_calibration_error",
    "OneVsRestAUC": "one_vs_rest_auc",
    "RealAccuracy": "real_accuracy",
    "TopKAccuracy": "topk_accuracy",
}


def __getattr__(name: str) -> Any:
    """A metric, when it is asked for: `evaluate` takes two seconds to import, and most of this folder needs none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    return getattr(import_module(f".metrics.{module}.{module}", __name__), name)
