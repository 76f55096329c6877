"""Files of objects that other tools export: CVAT, Label Studio and GeoJSON."""

import io
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from components.exchange.formats import format_named
from components.exchange.labelled import About, LabelledPicture
from components.exchange.names import FormatName
from components.exchange.reading import read_objects
from tests.reliability.mutations import Mutation, of_json, of_text
from tests.reliability.reader import Reader
from tests.reliability.readers_of_data import draw_objects

FILE, PICTURE = "objects", "images/a.png"
ABOUT = About(("cat", "dog"), "a model")
XML_WORDS = (
    "-1",
    "1e999",
    "nan",
    "&amp;",
    "<!DOCTYPE a>",
    "<mask/>",
    '"',
    ";",
    ",",
    "99999999999999999999",
    "</image>",
)


def _good(form: FormatName, random: Random) -> dict[str, bytes]:
    ids = np.frombuffer(random.randbytes(42), dtype=np.uint8).reshape(6, 7) % 3
    picture, stream, file = io.BytesIO(), io.StringIO(), format_named(form)
    Image.new("RGB", (7, 6)).save(picture, format="PNG")
    assert file is not None
    file.write(stream, [LabelledPicture("a.png", ids, {0: 0.5})], ABOUT)
    return {FILE: stream.getvalue().encode(), PICTURE: picture.getvalue()}


def _reader(form: FormatName, damage: Mutation) -> Reader:
    def read(folder: Path) -> None:
        draw_objects(read_objects(folder / FILE, folder / "images"))

    return Reader(read, lambda random: _good(form, random), {FILE: damage})


READERS = {
    "cvat": _reader(FormatName.CVAT, of_text(*XML_WORDS)),
    "cvat_polygons": _reader(FormatName.CVAT_POLYGONS, of_text(*XML_WORDS)),
    "label_studio": _reader(FormatName.LABEL_STUDIO, of_json),
    "label_studio_polygons": _reader(FormatName.LABEL_STUDIO_POLYGONS, of_json),
    "geojson": _reader(FormatName.GEOJSON, of_json),
}
