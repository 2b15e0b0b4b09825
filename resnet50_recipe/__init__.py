"""
What a training run is to do, and what was wrong with what a user asked for.

This package stands below the others and imports neither torch nor the model: a recipe is read and checked, and a
mistake in it is told, in a second. `modeling_resnet50` and `resnet50_cli` build on it.
"""
