"""Which picture of a data set of one's own belongs to which split, and which label map to it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade_core.data.index import IMAGE_SUFFIXES
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_text
from cascade_core.runtime.listing import duplicates, short_list

TRAIN = "train"


def pictures_below(folder: Path) -> dict[str, Path]:
    """Give every picture below a folder by its path in it without suffix, in the order of those.

    Raises:
        UserError: the folder is missing or has none, or two pictures differ in the suffix alone.
    """
    if not folder.is_dir():
        raise UserError(f"picture folder {folder} does not exist; give the folder that holds the photographs")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in found:
                raise UserError(f"{found[name]} and {path.name} would share a label map; rename one of them")
            found[name] = path
    if not found:
        raise UserError(f"picture folder {folder} holds no {', '.join(IMAGE_SUFFIXES)} file")
    return found


def assigned(
    names: Sequence[str], *, given: Mapping[str, str], held_out: Mapping[str, float], seed: int
) -> dict[str, list[str]]:
    """Give the names of each split.

    `given` says for a split which folder of the pictures, or which file with a list of them, it is;
    `held_out` says which share of the training pictures goes to another split, chosen by `seed` and the names
    alone. Training pictures are those given as "train", else all that no split was given. With neither, each
    folder of pictures is a split.

    Raises:
        UserError: a folder or list is empty or names what is not there, a split is given twice, or shares
            leave nothing to train on or to hold out.
    """
    if not given and not held_out:
        return _by_folder(names)
    if both := sorted(set(given) & set(held_out)):
        raise UserError(f"split {both[0]!r} is given and held out too; choose one of both")
    splits = {split: _given(split, place, names) for split, place in given.items()}
    _check_apart(splits)
    if held_out:
        taken = {name for listed in splits.values() for name in listed}
        pool = splits.get(TRAIN) or [name for name in names if name not in taken]
        splits |= _held_out(pool, held_out, seed)
    return {TRAIN: splits.pop(TRAIN), **splits} if TRAIN in splits else splits


def _check_apart(splits: Mapping[str, Sequence[str]]) -> None:
    first: dict[str, str] = {}
    for split, listed in splits.items():
        for name in listed:
            if first.setdefault(name, split) != split:
                both = f"{first[name]!r} and {split!r}"
                raise UserError(f"picture {name} is in splits {both}; a picture belongs to one split, once")


def _by_folder(names: Sequence[str]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name in names:
        folder, slash, _ = name.partition("/")
        if not slash:
            raise UserError(
                f"picture {name!r} lies in no folder named after a split; say by --split train=LIST which pictures are "
                "of which split, or hold some out: --hold-out val=0.2"
            )
        splits.setdefault(folder, []).append(name)
    return splits


def _given(split: str, place: str, names: Sequence[str]) -> list[str]:
    if Path(place).is_file():
        return _listed(Path(place), names)
    prefix = f"{place.strip('/')}/"
    found = [name for name in names if name.startswith(prefix)]
    if not found:
        folders = sorted({name.partition("/")[0] for name in names if "/" in name})
        raise UserError(
            f"split {split}={place!r} is neither a file with a list nor a folder of the pictures; "
            f"folders there: {', '.join(folders) or 'none'}"
        )
    return found


def _listed(path: Path, names: Sequence[str]) -> list[str]:
    """Read names, a line each, with or without the suffix of a picture."""
    lines = [line.strip() for line in read_text(path, "list").splitlines()]
    known = set(names)
    listed: list[str] = []
    strange: list[str] = []
    for line in filter(None, lines):
        bare = line[: -len(Path(line).suffix)] if Path(line).suffix.lower() in IMAGE_SUFFIXES else line
        (listed if bare in known else strange).append(bare)
    if strange or not listed:
        which = short_list(strange, most=5) or "nothing"
        raise UserError(f"list {path} names {which}; names are paths below the picture folder, a line each")
    if twice := duplicates(listed):
        raise UserError(f"list {path} names {twice[0]} twice; a picture belongs to one split, once")
    return listed


def _held_out(pool: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, list[str]]:
    for split, share in shares.items():
        if not 0 < share < 1 or not 0 < round(share * len(pool)) < len(pool):
            raise UserError(
                f"holding out {split}={share:g} of {len(pool)} pictures leaves a split empty; "
                "give a share such as 0.2 of enough pictures"
            )
    # By a hash of each name, so that nearly all stay where they are when others come or go.
    shuffled = sorted(pool, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest())
    splits: dict[str, list[str]] = {}
    for split, share in shares.items():
        count = round(share * len(pool))
        splits[split], shuffled = sorted(shuffled[:count]), shuffled[count:]
    if not shuffled:
        raise UserError(f"holding out {dict(shares)} leaves no picture to train on; give smaller shares")
    return {TRAIN: sorted(shuffled), **splits}
