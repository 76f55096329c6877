"""What the package holds besides code: a small trained model by its name, and pictures to try it on."""

from pathlib import Path

HERE = Path(__file__).parent
MODELS = ("mini",)
"""Names of the models; each is a model folder here."""


def shipped_model(given: Path) -> Path:
    """Return the folder of a model in the package if `given` is its name, and otherwise `given`.

    A path that exists takes precedence over a model of that name.
    """
    return HERE / given if str(given) in MODELS and not given.exists() else given


def example_pictures() -> tuple[Path, ...]:
    """Return the paths of the pictures in the package, scenes of the mini benchmark, in the order of their names."""
    return tuple(sorted((HERE / "pictures").glob("*.jpg")))
