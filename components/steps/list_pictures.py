"""Step: list the pictures that shards divide, once for all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cascade_core.errors import UserError
from components.contract import Call, Option, step
from components.contract.shared import Out
from components.tracking.experiments import PREDICTIONS

LIST_FILE = "pictures.parquet"
LISTS = (".parquet", ".txt")
"""An address with such an ending is a list; every other is a place of pictures."""
Place = Annotated[str, Option("Folder or s3:// address of the shards' results.")]


@dataclass(frozen=True)
class Listed:
    """The list's file, and the number of its pictures."""

    path: Path
    pictures: int


@step("list_pictures")
def run(
    call: Call,
    /,
    *,
    pictures: Annotated[str, Option("Folder, pattern, tar, s3:// prefix, or a list (.txt, .parquet).")],
    place: Place,
    out: Out,
) -> Listed:
    """Write the addresses of all pictures in one list, which all shards read, and look at the place of their results.

    Addresses are absolute, because each shard has another working folder.

    Raises:
        UserError: there are no pictures, an address is relative, or the place takes no results.
    """
    import pyarrow as pa
    from pyarrow import parquet

    from components.bulk.listing import COLUMN, addresses
    from components.storage.places import S3
    from components.storage.result_folder import result_folder

    with call.writing(protocol=PREDICTIONS) as work:
        result_folder(place)
        listed = addresses([], [pictures]) if pictures.endswith(LISTS) else addresses([pictures])
        if relative := [address for address in listed if not address.startswith(("/", S3))]:
            raise UserError(
                f"{pictures}: {relative[0]} is a relative path, and the steps have other working folders; list absolute "
                f"paths and {S3} addresses"
            )
        try:
            table = pa.table({COLUMN: pa.array(listed, pa.string())})
        except UnicodeEncodeError as error:
            raise UserError(
                f"{pictures}: a picture's name is not UTF-8 ({error.reason}); rename it"
            ) from error
        parquet.write_table(table, work.folder / LIST_FILE, compression="zstd")
        work.tracker.metrics({"pictures": len(listed)})
    return Listed(out / LIST_FILE, len(listed))
