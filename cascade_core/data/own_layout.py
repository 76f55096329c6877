"""The pictures of a user's own data set, and their assignment to splits."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade_core.data.picture_names import (
    SUFFIXES,
    bare,
    by_name,
    comparable,
    is_picture,
    log_skipped,
)
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import duplicates, short_list
from cascade_core.runtime.walking import visible_below

TRAIN = "train"


def pictures_below(folder: Path, *, maps: Path | None = None, map_suffix: str = ".png") -> dict[str, Path]:
    """Find the pictures below a folder, sorted; the keys are their paths without suffix, relative to the folder.

    Label maps in `maps`, which may be the same folder or one below it, are no pictures. Other files are logged.

    Raises:
        UserError: the folder is missing or has no picture, or two pictures have one name.
    """
    if not folder.is_dir():
        raise UserError(f"picture folder {folder} does not exist; give the folder that holds the photographs")
    files = visible_below(folder)
    log_skipped(folder, [name for name in files if not is_picture(name)], "because they are no pictures")
    names = list(filter(is_picture, files))
    if maps == folder:
        owners = by_name(names, lambda name: comparable(bare(name) + map_suffix))
        names = [name for name in names if not set(owners.get(comparable(name), ())) - {name}]
    elif maps is not None and maps.is_relative_to(folder):
        names = [name for name in names if not files[name].is_relative_to(maps)]
    pictures = by_name(names, bare)
    if twins := [alike for alike in pictures.values() if len(alike) > 1]:
        raise UserError(f"{folder}: {' and '.join(twins[0])} would share a label map; rename one of them")
    if not pictures:
        raise UserError(f"picture folder {folder} holds no {', '.join(SUFFIXES)} file; add pictures")
    return {name: files[file] for name, (file,) in pictures.items()}


def assigned(
    names: Sequence[str], *, given: Mapping[str, str], held_out: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Assign pictures to splits, and return the names of each split; without `given` and `held_out`, by folder.

    Args:
        names: all pictures, by their paths without suffix.
        given: for a split its folder of pictures, or a file that lists them.
        held_out: for a split its share of the training pictures: those given as "train", else all without a split.
        seed: seed and names alone decide which pictures are held out.

    Raises:
        UserError: a folder or list is empty or names an unknown picture, a split or picture occurs twice, or the
            shares leave a split empty.
    """
    if not given and not held_out:
        return _by_folder(names)
    if both := sorted(set(given) & set(held_out)):
        raise UserError(f"split {both[0]!r} is given and held out too; choose one of both")
    splits = {split: _pictures_at(split, place, names) for split, place in given.items()}
    split_of: dict[str, str] = {}
    for split, pictures in splits.items():
        for name in pictures:
            if (other := split_of.setdefault(name, split)) != split:
                raise UserError(
                    f"picture {name} is in splits {other!r} and {split!r}; a picture belongs to one split, once"
                )
    if held_out:
        pool = splits.get(TRAIN) or [name for name in names if name not in split_of]
        splits |= _hold_out(pool, held_out, seed)
    return {TRAIN: splits.pop(TRAIN), **splits} if TRAIN in splits else splits


def _by_folder(names: Sequence[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        if not slash:
            raise UserError(
                f"picture {name!r} lies in no folder named after a split; list the pictures "
                "of each split (--split train=LIST), or hold pictures out (--hold-out val=0.2)"
            )
        splits.setdefault(folder, []).append(name)
    return splits


def _pictures_at(split: str, place: str, names: Sequence[str]) -> list[str]:
    """Return the pictures of a split whose place is a list file or a folder of pictures."""
    if Path(place).is_file():
        return _read_list(Path(place), names)
    prefix = f"{place.strip('/')}/"
    pictures = [name for name in names if name.startswith(prefix)]
    if not pictures:
        folders = sorted({name.partition("/")[0] for name in names if "/" in name})
        raise UserError(
            f"split {split}={place!r} is neither a file with a list nor a folder of the pictures; "
            f"folders there: {', '.join(folders) or 'none'}"
        )
    return pictures


def _read_list(path: Path, names: Sequence[str]) -> list[str]:
    """Read the picture names in a list, one a line, with or without suffix."""
    pictures = [bare(line) for line in map(str.strip, read_text(path, "list").splitlines()) if line]
    strays = sorted(set(pictures) - set(names), key=pictures.index)
    if strays or not pictures:
        which = short_list(strays, most=5) or "nothing"
        raise UserError(f"list {path} names {which}; names are paths below the picture folder, a line each")
    if repeated := duplicates(pictures):
        raise UserError(f"list {path} names {repeated[0]} twice; a picture belongs to one split, once")
    return pictures


def _hold_out(pool: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    """Move shares of the pool to other splits; the rest is the training split."""
    # Hashes of names decide, so that most pictures keep their split when others are added or removed.
    rest = sorted(pool, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest())
    splits: dict[str, list[str]] = {}
    for split, share in shares.items():
        count = round(share * len(pool))
        if not 0 < share < 1 or not 0 < count < len(pool):
            raise UserError(
                f"holding out {split}={share:g} of {len(pool)} pictures leaves a split empty; "
                "give a share such as 0.2 of enough pictures"
            )
        splits[split], rest = sorted(rest[:count]), rest[count:]
    if not rest:
        raise UserError(f"holding out {dict(shares)} leaves no picture to train on; give smaller shares")
    return {TRAIN: sorted(rest), **splits}
