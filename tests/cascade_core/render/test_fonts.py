"""Names in any script are drawn, or spelt as distinct codes."""

import logging

import pytest
from PIL import Image, ImageDraw

from cascade_core.render import fonts
from cascade_core.render.fonts import drawable


def test_names_in_other_scripts_get_a_font_with_their_letters() -> None:
    text, font = drawable("полосатый тигр", 14)
    assert text == "полосатый тигр"
    missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
    assert all(
        (font.getmask(letter).getbbox(), bytes(font.getmask(letter))) != missing for letter in "полсты"
    )
    sheet = Image.new("L", (200, 20))
    ImageDraw.Draw(sheet).text((0, 0), text, fill=255, font=font)
    assert sheet.getbbox() is not None


def test_letters_without_a_font_become_codes_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert drawable("tiger \U0010fffd", 14)[0] == "tiger \\U0010fffd"
        drawable("tiger \U0010fffd", 15)
    assert len(caplog.records) == 1


def test_ascii_names_need_no_search_for_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_fonts", pytest.fail)
    assert drawable("zebra", 14)[0] == "zebra"
