"""The images that steps run in."""

IMAGE = "cascade-clip-workflow:0.1.0-python3.11"
"""Holds this package and torch; compiling a pipeline may put another one in its place."""

LIGHT_IMAGE = f"{IMAGE}-light"
"""The one without torch, for every step that computes with no model."""
