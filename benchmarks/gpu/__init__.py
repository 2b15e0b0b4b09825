"""What only a GPU can show: `python -m benchmarks gpu`."""


def main() -> None:
    from .kit import main  # its parts are modules to be run by themselves, so not before it is asked for

    main()
