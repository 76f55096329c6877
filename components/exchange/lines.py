"""JSON lines: for each picture its size, and the areas and confidences of its classes, without outlines."""

import json
from collections.abc import Iterable
from typing import TextIO

import numpy as np

from components.exchange.labelled import SOFTWARE, About, LabelledPicture

BEGINS = f'{{"software": "{SOFTWARE}"'.encode()


def write(stream: TextIO, pictures: Iterable[LabelledPicture], about: About) -> None:
    """Write a line for each picture; its classes are in the order of their ids, and background is none of them."""
    for picture in pictures:
        width, height = picture.size
        classes = [
            {
                "id": i,
                "label": label,
                "pixels": pixels,
                "share": pixels / (width * height),
                "confidence": picture.confidence.get(i),
            }
            for i, (label, pixels) in enumerate(zip(about.labels, _pixels(picture, about), strict=True))
            if pixels
        ]
        line = {
            "software": SOFTWARE,
            "model": about.model,
            "file_name": picture.file_name,
            "width": width,
            "height": height,
            "classes": classes,
        }
        stream.write(f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n")


def _pixels(picture: LabelledPicture, about: About) -> list[int]:
    counts = np.bincount(picture.label_map.ravel(), minlength=len(about.labels))
    return counts[: len(about.labels)].tolist()
