"""Checks of what lies on disk: models and CLIPs, and data sets in the working folder. They change nothing."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from cascade_core.clip.home import clip_home
from cascade_core.errors import UserError
from cascade_core.runtime.extras import install_command
from cascade_core.runtime.files import read_json
from cascade_core.runtime.formats import read_manifest
from cascade_core.runtime.targets import MANIFEST_FILE
from cascade_core.shipped.contents import MODELS
from components.doctor.finding import Finding

OUTPUTS = ("outputs", "local_outputs")
"""Folders of the working folder in which commands write."""
IMPORT = "cascade-clip import-clip ViT-B-16 --tag openai"
PREPARE = "cascade-clip prepare voc12 --help"
DEEPEST = 4
"""Outputs lie at most so many folders below."""


def weights() -> Iterator[Finding]:
    """Look at every imported CLIP, the mini benchmark's CLIP, and checkpoints in the working folder."""
    if find_spec("torch") is None:
        yield Finding("weights", "note", "not checked, because torch is not installed", install_command())
        return
    yield Finding("weights", "ok", f"comes with the package: {', '.join(MODELS)}")
    home = clip_home()
    folders = sorted(path for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    if not folders:
        yield Finding("weights", "note", f"no CLIP is imported in {home}", IMPORT)
    mini = Path("data/mini/clip")
    for folder in (*folders, *([mini] if mini.is_dir() else [])):
        yield _clip(folder)
    checkpoints = [file.parent for root in OUTPUTS for file in _below(Path(root), "model.safetensors")]
    if checkpoints:
        yield Finding("weights", "ok", f"{len(checkpoints)} checkpoints, such as {checkpoints[0]}")


def _clip(folder: Path) -> Finding:
    """Read the configuration of a CLIP folder, and the names and sizes in its weights."""
    from cascade_core.clip.files import WEIGHTS_FILE, read_clip_config
    from cascade_core.runtime.tensors import read_tensors

    try:
        config = read_clip_config(folder)
        read_tensors(folder / WEIGHTS_FILE, prefix="no tensor has this prefix")
    except UserError as error:
        return Finding.of_error("weights", error)
    size = f"{config.layers} layers of width {config.width}, patches of {config.patch_size} pixels"
    return Finding("weights", "ok", f"CLIP {config.name} in {folder}: {size}")


def data() -> Iterator[Finding]:
    """Look at the prepared data sets in the working folder, and whether their pictures are where they were."""
    if Path("data.dvc").is_file() and not Path("data/mini").is_dir():
        sentence = f"the mini benchmark's data are not in {Path('data/mini').absolute()}"
        yield Finding("data", "problem", sentence, "cascade-clip run, or dvc pull")
    prepared = [
        file.parent
        for root in OUTPUTS
        for file in _below(Path(root), "summary.json")
        if (file.parent / "index.parquet").is_file()
    ]
    if not prepared:
        yield Finding("data", "note", f"no prepared data set in {Path.cwd()}", PREPARE)
    yield from map(_prepared, prepared)


def _prepared(folder: Path) -> Finding:
    try:
        summary = read_json(folder / "summary.json")
        pictures = {split: counts["pictures"] for split, counts in summary["splits"].items()}
        protocol = summary["protocol"]
        root = folder.resolve() / read_manifest(folder / MANIFEST_FILE)["inputs"]["raw"]["path"]
    except UserError as error:
        return Finding.of_error("data", error)
    except (KeyError, TypeError, AttributeError) as error:
        sentence = f"{folder}: its summary or manifest lacks {error}"
        return Finding("data", "problem", sentence, "run the prepare step again")
    counts = ", ".join(f"{split} {number:,}" for split, number in pictures.items())
    if not root.is_dir():
        sentence = f"{folder} ({protocol}): its pictures are not at {root}"
        return Finding(
            "data", "problem", sentence, "move them back, or run the prepare step on their new place"
        )
    return Finding("data", "ok", f"{folder}: {protocol}; pictures: {counts}")


def _below(folder: Path, name: str) -> list[Path]:
    """Return the files of this name at most `DEEPEST` folders below, in order."""
    return sorted(file for depth in range(DEEPEST) for file in folder.glob(f"{'*/' * depth}{name}"))
