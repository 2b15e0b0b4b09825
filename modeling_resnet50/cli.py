"""The `resnet50` command, for Python: its parsers are in `resnet50_cli`, which imports in no time."""

from resnet50_cli import main


__all__ = ["main"]

if __name__ == "__main__":
    main()
