"""The list of pictures that shards divide: from folders, patterns, lists, Parquet tables, tars and object stores."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade_core.data.picture_names import SUFFIXES, is_picture
from cascade_core.errors import UserError
from cascade_core.runtime.files import system_errors_as_user_errors
from components.bulk.sources import members
from components.pictures.picture_files import listed_pictures
from components.servers.patience import patiently
from components.storage.places import in_store

COLUMN = "picture"
"""The column of a Parquet list that holds the addresses."""


def addresses(given: Sequence[str], lists: Sequence[str] = ()) -> list[str]:
    """Return the address of every picture, in an order that depends on the names alone.

    `given` are files, folders, patterns, tars (FILE.tar), and objects or prefixes in a store (s3://). `lists` are text files
    with an address on each line, Parquet files with a column `picture`, or such a file in a store. Entries of a list are
    taken as they are; a relative path counts from the working folder.

    Raises:
        UserError: something does not exist, is no list or holds no picture, or the store does not answer.
    """
    pictures = [address for place in lists for address in _of_list(place)]
    local = [place for place in given if not _is_elsewhere(place)]
    if local:
        pictures += [str(picture.path) for picture in listed_pictures(local, out=None)]
    for place in given:
        if _is_elsewhere(place):
            pictures += _in_store(place) if in_store(place) else _in_tar(place)
    if not pictures:
        raise UserError(f"no picture in {', '.join((*lists, *given)) or 'nothing'}")
    return pictures


def _is_elsewhere(place: str) -> bool:
    return in_store(place) or place.endswith(".tar")


def _in_tar(path: str) -> list[str]:
    names = [name for name in members(path) if is_picture(name)]
    if not names:
        raise UserError(f"{path}: has no picture; members are searched for {', '.join(SUFFIXES)}")
    return [f"{path}#{name}" for name in names]


def _in_store(uri: str) -> list[str]:
    from components.storage import s3

    if uri.endswith(".tar"):
        raise UserError(
            f"{uri}: tars are read from a disk; fetch it with `cascade-clip fetch`, or list the objects of pictures"
        )
    if is_picture(uri):
        return [uri]
    place, client = s3.address(uri), s3.connect()
    names = patiently(lambda: s3.list_files(client, place))
    pictures = sorted(filter(is_picture, names))
    if not pictures:
        raise UserError(
            f"{uri}: there is no picture below it; objects are searched for {', '.join(SUFFIXES)}"
        )
    return [str(place.below(name)) for name in pictures]


def _of_list(place: str) -> Iterator[str]:
    if in_store(place):
        import tempfile

        from components.storage import transfer

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, place.rpartition("/")[2] or "list")
            patiently(lambda: transfer.fetch(place, path, remembered=False))
            if not path.is_file():
                raise UserError(f"{place} is a folder; give it as an argument, or name a list in it")
            yield from _of_file(path, place)
    else:
        yield from _of_file(Path(place), place)


def _of_file(path: Path, name: str) -> Iterator[str]:
    with system_errors_as_user_errors():
        yield from _of_parquet(path, name) if path.suffix == ".parquet" else _of_text(path, name)


def _of_text(path: Path, name: str) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for line in lines:
                if address := line.rstrip("\r\n"):
                    yield address
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}: is not UTF-8 text ({error.reason}); give a list with an address on each line, or a .parquet"
        ) from error


def _of_parquet(path: Path, name: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            for part in table.iter_batches(columns=[COLUMN]):
                for address in part.column(COLUMN).to_pylist():
                    if not isinstance(address, str) or not address:
                        raise UserError(
                            f"{name}: column {COLUMN} has a row without an address; mend the list"
                        )
                    yield address
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError, KeyError) as error:
        raise UserError(
            f"{name}: is no Parquet table with a column {COLUMN} ({str(error).splitlines()[0]}); write it anew"
        ) from error
