"""Commands that move files and folders to and from an object store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from components.storage.transfer import Moved


def fetch(
    uri: Annotated[str, typer.Argument(help="s3://bucket/key of a file, or s3://bucket/prefix of a folder.")],
    to: Annotated[Path, typer.Option(help="File or folder to write; replaced whole, or left as it was.")],
) -> None:
    """Fetch a file or folder from an object store.

    Where and who: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
    """
    from components.storage import transfer as storage

    _tell(storage.fetch(uri, to), "fetched", to)


def store(
    path: Annotated[Path, typer.Argument(help="File or folder to store.")],
    uri: Annotated[str, typer.Argument(help="s3://bucket/key; of a folder, the prefix.")],
) -> None:
    """Store a file or folder in an object store.

    Where and who: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION.
    """
    from components.storage import transfer as storage

    _tell(storage.store(path, uri), "stored", uri)


def _tell(moved: "Moved", done: str, where: object) -> None:
    kept = f", {moved.kept} of them were there already" if moved.kept else ""
    print(f"{done} {moved.files} files, {moved.num_bytes / 2**20:.1f} MiB{kept}: {where}")
