"""The folder of imported CLIPs: outside every project, so that commands in any working folder find a CLIP by name."""

import os
import re
from pathlib import Path

from platformdirs import user_data_path

from cascade_core.shipped.contents import shipped_model

HOME_VARIABLE, PROGRAM = "CASCADE_HOME", "cascade-clip"


def clip_home() -> Path:
    """Return the folder of imported CLIPs: `clip` in `$CASCADE_HOME`, or else in the user's data folder."""
    return _home() / "clip"


def model_home() -> Path:
    """Return the folder of models made of CLIP alone, beside that of imported CLIPs."""
    return _home() / "models"


def _home() -> Path:
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) if home else user_data_path(PROGRAM, appauthor=False)


def training_free_folder(method: str, clip_name: str) -> Path:
    """Return the folder that `import-clip --method` writes for a method on a CLIP of this name."""
    return model_home() / re.sub(r"[^\w.-]", "-", f"{method}-{clip_name}")


def model_folder(path: Path) -> Path:
    """Return the folder of a model in the package, or of one made of CLIP alone, if `path` is its name.

    Otherwise as `clip_folder`: a path that exists takes precedence, and one that does not is returned unchanged.
    """
    return _named(shipped_model(path), model_home())


def imported_clip(name: str) -> Path:
    """Return the folder that `import-clip` writes for a CLIP of this name."""
    return clip_home() / re.sub(r"[^\w.-]", "-", name)


def clip_folder(path: Path) -> Path:
    """Return the folder of an imported CLIP if `path` is its name, and otherwise `path`.

    A path that exists takes precedence over an imported CLIP of that name. A path that does not exist is returned
    unchanged; its reader then reports the missing file.
    """
    return _named(path, clip_home())


def _named(path: Path, home: Path) -> Path:
    is_name = len(path.parts) == 1 and path.name not in {"", ".."}
    return home / path if is_name and not path.exists() and (home / path).is_dir() else path
