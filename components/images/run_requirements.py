"""Print an image's requirements, one a line: the project's and its extras', without packages that the steps do not need.

python components/images/run_requirements.py pyproject.toml light
"""

import re
import sys
import tomllib
from pathlib import Path

EXTRAS: dict[str, tuple[str, ...]] = {"torch": ("pipeline", "serve"), "light": ("pipeline",)}
"""The extras of pyproject.toml that an image has."""
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "torch": (),
    # DVC runs the workflow on a workstation; no step of a pipeline uses it.
    "light": ("torch", "torchvision", "open_clip_torch", "dvc"),
}
"""Packages of the project and these extras that an image leaves out."""


def requirements(pyproject: Path, image: str) -> list[str]:
    """Return the requirements of an image.

    Raises:
        ValueError: there is no such image, or it leaves out a package that pyproject.toml does not require.
    """
    if image not in LEFT_OUT:
        raise ValueError(f"no image {image!r}; there are {' and '.join(LEFT_OUT)}")
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {})
    dependencies = [
        *project["dependencies"],
        *(line for extra in EXTRAS[image] for line in optional.get(extra, ())),
    ]
    names = {line: re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in dependencies}
    if stray := set(LEFT_OUT[image]) - set(names.values()):
        raise ValueError(
            f"{pyproject} does not require {', '.join(sorted(stray))}, which image {image!r} leaves out"
        )
    return [line for line, name in names.items() if name not in LEFT_OUT[image]]


if __name__ == "__main__":
    try:
        print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2])))
    except ValueError as error:  # Not a UserError: an image runs this file before it has our packages.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
