"""ImageNet-1K and other data sets onto this disk, whole and with the right labels: the `resnet50 prepare` command."""
