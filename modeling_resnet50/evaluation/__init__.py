"""How good a model is: metrics as `evaluate` modules, the loop that feeds them, and what the numbers are worth."""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .metrics.cross_entropy.cross_entropy import CrossEntropy
    from .metrics.expected_calibration_error.expected_calibration_error import ExpectedCalibrationError
    from .metrics.real_accuracy.real_accuracy import RealAccuracy
    from .metrics.topk_accuracy.topk_accuracy import TopKAccuracy

__all__ = ["CrossEntropy", "ExpectedCalibrationError", "RealAccuracy", "TopKAccuracy"]

_MODULES = {
    "CrossEntropy": "cross_entropy",
    "ExpectedCalibrationError": "expected_calibration_error",
    "RealAccuracy": "real_accuracy",
    "TopKAccuracy": "topk_accuracy",
}


def __getattr__(name: str) -> Any:
    """A metric, when it is asked for: `evaluate` takes two seconds to import, and most of this folder needs none."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES[name]
    return getattr(import_module(f".metrics.{module}.{module}", __name__), name)
