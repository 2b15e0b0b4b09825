"""A model as a folder that others can open, its card, and its way to the Hub."""
