"""The objects of a file that another tool wrote, as COCO's records, and the pictures that they are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from cascade_core.data.picture_names import bare, by_name, comparable, is_picture
from cascade_core.data.pictures import upright_size
from cascade_core.data.polygons import (
    CocoAnnotation,
    CocoCategory,
    CocoFile,
    CocoImage,
    CocoRle,
    check_ids,
)
from cascade_core.data.run_lengths import runs_of
from cascade_core.errors import UserError
from cascade_core.runtime.walking import visible_below


class Objects:
    """Records in the order of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._images: list[CocoImage] = []
        self._annotations: list[CocoAnnotation] = []
        self._categories: dict[str, int] = {}

    def picture(self, file_name: str, size: tuple[int, int]) -> CocoImage:
        """Add a picture of a width and height, and return its record.

        Raises:
            UserError: the name or the size is none.
        """
        try:
            image = CocoImage(id=len(self._images) + 1, file_name=file_name, width=size[0], height=size[1])
        except ValueError as error:
            raise UserError(
                f"{self.path}: picture {file_name!r} of {size[0]}x{size[1]} pixels is none; export it anew"
            ) from error
        self._images.append(image)
        return image

    def polygon(self, image: CocoImage, label: str, points: Sequence[Sequence[float]]) -> None:
        """Add a polygon with these corners in pixels."""
        self._add(image, label, [[float(value) for point in points for value in point]])

    def mask(
        self,
        image: CocoImage,
        label: str,
        mask: Bool[np.ndarray, "rows columns"],
        corner: tuple[int, int] = (0, 0),
    ) -> None:
        """Add a mask whose first row and column in the picture are `corner`.

        Raises:
            UserError: it reaches out of the picture.
        """
        top, left = corner
        rows, columns = mask.shape
        if top < 0 or left < 0 or top + rows > image.height or left + columns > image.width:
            raise UserError(
                f"{self.path}: a mask of {label!r} reaches out of {image.file_name}, which has {image.width}x{image.height} "
                "pixels; export it anew"
            )
        runs = runs_of(mask, (image.height, image.width), corner)
        self._add(image, label, CocoRle(size=(image.height, image.width), counts=runs.tolist()))

    def file(self) -> CocoFile:
        """Return all records.

        Raises:
            UserError: two pictures or classes have one name.
        """
        coco = CocoFile(
            images=tuple(self._images),
            annotations=tuple(self._annotations),
            categories=tuple(CocoCategory(id=i, name=name) for name, i in self._categories.items()),
        )
        check_ids(coco, self.path)
        return coco

    def _add(self, image: CocoImage, label: str, outline: list[list[float]] | CocoRle) -> None:
        category = self._categories.setdefault(label, len(self._categories) + 1)
        self._annotations.append(
            CocoAnnotation(
                id=len(self._annotations) + 1, image_id=image.id, category_id=category, segmentation=outline
            )
        )


class PicturesBelow:
    """The pictures below a folder, for files that do not state what they are of."""

    def __init__(self, images: Path, path: Path) -> None:
        self.images, self.path = images, path
        self._names: Mapping[str, list[str]] = by_name(filter(is_picture, visible_below(images)), comparable)

    def file(self, file_name: str) -> Path:
        """Return a picture's path; names are compared as those in COCO files are, also without a folder of a split.

        Raises:
            UserError: no picture has the name, or several have it.
        """
        name = comparable(file_name)
        alike = self._names.get(name) or [
            below for key, names in self._names.items() if key.endswith(f"/{name}") for below in names
        ]
        if len(alike) != 1:
            count = f"{' and '.join(alike)} have that name" if alike else "no picture has that name"
            raise UserError(
                f"{self.path}: names picture {file_name!r}, but below {self.images} {count}; mend the name, or add the picture"
            )
        return self.images / alike[0]

    def size(self, file_name: str) -> tuple[int, int]:
        """Return a picture's width and height.

        Raises:
            UserError: there is no such picture, or it cannot be read.
        """
        return upright_size(self.file(file_name), file_name)

    def only(self) -> str | None:
        """Return the name of the only picture, or None if there are several."""
        names = [name for names in self._names.values() for name in names]
        return names[0] if len(names) == 1 else None

    def ending(self, text: str) -> str | None:
        """Return the picture whose name ends a text, such as an address or a name with a mark before it."""
        end = bare(text)
        matches = [name for key, names in self._names.items() for name in names if _ends(end, bare(key))]
        return max(matches, key=len, default=None)


def _ends(text: str, name: str) -> bool:
    return text == name or any(text.endswith(f"{mark}{name}") for mark in "/-")
