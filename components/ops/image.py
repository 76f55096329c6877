"""The images that steps run in."""

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""Holds this package; compiling a pipeline may put another one in its place."""
