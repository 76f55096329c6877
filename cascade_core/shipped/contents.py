"""What the package holds besides code: a small trained model by its name, and pictures to try it on."""

from pathlib import Path

HERE = Path(__file__).parent
MODELS = ("mini",)
"""Names of the models; each is a model folder here."""
EXAMPLES, PICTURES = "examples", HERE / "pictures"
"""The word for the pictures on a command line, and their folder."""


def shipped_model(path: Path) -> Path:
    """Return the folder of a model in the package if `path` is its name, and otherwise `path`.

    A path that exists takes precedence over a model of that name.
    """
    return HERE / path if str(path) in MODELS and not path.exists() else path


def shipped_pictures(path: Path) -> Path:
    """Return the folder of the pictures in the package if `path` is `examples` and no path, and otherwise `path`."""
    return PICTURES if str(path) == EXAMPLES and not path.exists() else path


def example_pictures() -> tuple[Path, ...]:
    """Return the paths of the pictures in the package, scenes of the mini benchmark, in the order of their names."""
    return tuple(sorted(PICTURES.glob("*.jpg")))
