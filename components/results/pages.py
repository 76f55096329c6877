"""Pages for people: one file each, filled from the templates beside the steps."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = ("#2563eb", "#d97706", "#0d9488", "#c026d3", "#65a30d", "#dc2626", "#64748b", "#7c3aed")
"""Colours of curves, in turn."""


def filled(template: str, **values: Any) -> str:
    """Fill a template; what it names and `values` lack is an error, and text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
