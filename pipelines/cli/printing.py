"""What commands print for machines: JSON on standard output, and nothing else there."""

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def print_json(content: Any) -> None:
    """Print a value of JSON's types, indented, with letters as they are.

    Numbers are finite: NaN is no JSON, and is our defect.
    """
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
