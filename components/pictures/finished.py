"""The table of finished pictures in a folder of results: a rerun skips them without reading the picture.

Each line names a picture's results, its file with size and modification time, and the request. Lines are appended as
pictures are done, so a killed call loses the last ones at most; of several lines on the same results the last counts.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from cascade_core.runtime.files import system_errors_as_user_errors
from cascade_core.runtime.stamp import Stamp
from components.pictures.picture_files import PictureFile

FILE = "finished.jsonl"


class FinishedTable:
    """The table of one call, whose request all its lines share; `resume` reads the lines of earlier calls."""

    def __init__(self, out: Path, request: Mapping[str, Any], *, resume: bool) -> None:
        self.path = out / FILE
        self._request = _digest(json.dumps(request, sort_keys=True, allow_nan=False))
        self._stream: TextIO | None = None
        self._lines: dict[str, str] = self._read() if resume else {}

    def __enter__(self) -> "FinishedTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def has(self, picture: PictureFile, stamp: Stamp) -> bool:
        """Return whether the last results of this name are of this file and request."""
        return self._lines.get(_digest(picture.name)) == _digest(self._line(picture, stamp))

    def add(self, picture: PictureFile, stamp: Stamp) -> None:
        """Append a picture whose results are written.

        Raises:
            UserError: the disk is full, or the file cannot be written.
        """
        with system_errors_as_user_errors(self.path):
            if self._stream is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._stream = self.path.open("a", encoding="utf-8")
                self._stream.write(
                    "\n" if self._stream.tell() else ""
                )  # A killed call may leave half a line.
            self._stream.write(f"{self._line(picture, stamp)}\n")
            self._stream.flush()

    def _line(self, picture: PictureFile, stamp: Stamp) -> str:
        return json.dumps(
            {
                "name": picture.name,
                "picture": os.path.abspath(picture.path),  # noqa: PTH100 (keeps the name of a link)
                "bytes": stamp.num_bytes,
                "modified_ns": stamp.modified_ns,
                "request": self._request,
            },
            allow_nan=False,
        )

    def _read(self) -> dict[str, str]:
        """Return the digest of the last line on each name, by the digest of the name: a fifth of the lines' memory."""
        lines: dict[str, str] = {}
        if not self.path.exists():
            return lines
        with system_errors_as_user_errors(), self.path.open("rb") as stream:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip("\n")
                try:
                    name = json.loads(line)["name"]
                except (ValueError, KeyError, TypeError):
                    continue  # An empty line, or half a one.
                lines[_digest(str(name))] = _digest(line)
        return lines


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).hexdigest()
