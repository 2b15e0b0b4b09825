"""What only a GPU can show: `python -m benchmarks gpu`."""

from .kit import main


__all__ = ["main"]
