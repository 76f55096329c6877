"""Label maps that the step `prepare custom` writes: palette PNGs of ids, from annotations or from maps in colours."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cascade_core.data.examine import Candidate, Problem
from cascade_core.data.pictures import decode_label_colours
from cascade_core.errors import UserError
from cascade_core.labels.label_file import LabelFile
from cascade_core.render.colours import IGNORED_COLOUR, palette
from cascade_core.runtime.files import inside, new_file
from components.progress import progress

MAPS = "label_maps"
"""Their folder, below that of the step."""


def maps_of_colours(
    candidates: Sequence[Candidate], own: LabelFile, *, folder: Path, out: Path, root: Path
) -> tuple[list[Candidate], list[Problem]]:
    """Write the ids of label maps in colours below `folder`, which is later renamed to `out`.

    Returns the candidates with the new maps, whose paths are relative to `root`, and a problem for each map with a
    colour that the label file lacks. A missing or unreadable file stays a candidate, for the check to report.
    """
    maps: list[Candidate] = []
    problems: list[Problem] = []
    with progress(f"read colours of {own.name}", len(candidates)) as bar:
        for done, candidate in enumerate(candidates, start=1):
            written = _of_colours(candidate, own, folder=folder, out=out, root=root)
            if isinstance(written, Problem):
                problems.append(written)
            else:
                maps.append(written)
            bar.advance(done)
    return maps, problems


def _of_colours(
    candidate: Candidate, own: LabelFile, *, folder: Path, out: Path, root: Path
) -> Candidate | Problem:
    try:
        content = candidate.label_path.read_bytes()
    except OSError:
        return candidate
    try:
        ids = decode_label_colours(content, candidate.label, own.map_colours)
    except UserError as error:
        return Problem(candidate.name, candidate.image, candidate.split, "ids", str(error))
    name = f"{MAPS}/{candidate.split}/{candidate.name}.png"
    save_label_map(ids, inside(folder, name), own)
    return replace(
        candidate,
        label_path=inside(folder, name),
        label=inside(out, name).relative_to(root).as_posix(),
    )


def save_label_map(ids: UInt8[np.ndarray, "height width"], target: Path, own: LabelFile) -> None:
    """Write a label map with a palette of the label file's colours; classes without a colour get another one."""
    colours = palette(len(own.classes), [label_class.picture_colour for label_class in own.classes])
    table = [IGNORED_COLOUR] * 256
    for raw, colour in zip(own.ids, colours.tolist(), strict=True):
        table[raw] = tuple(colour)
    if own.background is not None:
        table[own.background.id] = (0, 0, 0)
    label_map = Image.fromarray(ids)
    label_map.putpalette([level for colour in table for level in colour])
    with new_file(target) as path:
        label_map.save(path, format="PNG")
