"""Print what an image installs, one requirement a line: pyproject.toml's, less what the steps in the image do without.

python components/images/run_requirements.py pyproject.toml light
"""

import re
import sys
import tomllib
from pathlib import Path

LEFT_OUT: dict[str, tuple[str, ...]] = {
    "torch": (),
    # DVC runs the workflow on the machine that people work at; no step of a pipeline asks for it.
    "light": ("torch", "torchvision", "torchmetrics", "open_clip_torch", "dvc"),
}
"""By image: distributions of pyproject.toml that are not in it."""


def requirements(pyproject: Path, image: str) -> list[str]:
    """Give the requirements of an image.

    Raises:
        ValueError: there is no such image, or one leaves out what is not asked for.
    """
    if image not in LEFT_OUT:
        raise ValueError(f"no image {image!r}; there are {' and '.join(LEFT_OUT)}")
    asked = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    names = {line: re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in asked}
    if stray := set(LEFT_OUT[image]) - set(names.values()):
        raise ValueError(
            f"{pyproject} asks for no {', '.join(sorted(stray))}, which image {image!r} leaves out"
        )
    return [line for line, name in names.items() if name not in LEFT_OUT[image]]


if __name__ == "__main__":
    try:
        print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2])))
    except ValueError as error:  # not a UserError: an image runs this file before our packages are in it
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
