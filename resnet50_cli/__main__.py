"""`python -m resnet50_cli`, which is also what `accelerate launch -m` needs."""

from . import main


main()
