"""The commands of `resnet50`, a file each: their options, and what they say."""
