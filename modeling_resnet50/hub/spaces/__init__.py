"""Spaces: pages on the Hub that ask a model about the visitor's pictures, by a server or in the browser."""
