"""The report's section on cost."""

from pathlib import Path
from typing import Any

import pytest

from cascade_core.runtime.files import write_json
from components.results.pages import fill_template
from components.results.report_page import cost_section


def cost(method: str, **parts: float) -> dict[str, Any]:
    listed = [{"name": name, "milliseconds": time, "gmacs": time / 10} for name, time in parts.items()]
    measured = {
        "batch_size": 1,
        "image_size": 64,
        "milliseconds_per_batch": 8.0,
        "milliseconds_quartiles": [7.5, 9.0],
        "images_per_second": 125.0,
        "peak_memory_mib": 3.5,
    }
    out_of_memory = dict.fromkeys(measured) | {"batch_size": 8, "image_size": 64}
    return {
        "method": method,
        "device": "cpu",
        "threads": 2,
        "gmacs_counted_by": "a <counter>",
        "peak_memory_measured_by": "VmHWM",
        "speeds": [measured, out_of_memory],
        "breakdown": {
            "batch_size": 1,
            "image_size": 64,
            "milliseconds": sum(parts.values()),
            "parts": listed,
        },
    }


def folder(path: Path, profile: dict[str, Any]) -> Path:
    write_json(path / "profile.json", profile)
    return path


def test_the_part_with_the_largest_share_comes_first(tmp_path: Path) -> None:
    section = cost_section(
        [
            folder(tmp_path / "a", cost("zegclip", attention=6.0, decoders=1.0, other=1.0)),
            folder(tmp_path / "b", cost("cascade_clip", attention=4.0, decoders=3.0, crops=3.0)),
        ]
    )
    assert [name for name, _ in section["parts"]] == ["attention", "decoders", "crops", "other"]
    (_, (first, second)), *_, (_, (_, missing)) = section["parts"]
    assert (first["share"], second["share"], missing) == (0.75, 0.4, None)
    assert [model["name"] for model in section["models"]] == ["ZegCLIP", "Cascade-CLIP"]


def test_the_page_shows_cases_parts_and_the_counter(tmp_path: Path) -> None:
    costs = cost_section([folder(tmp_path / "a", cost("zegclip", attention=6.0, other=2.0))])
    lists = ("protocols", "splits", "num_pictures", "data_hashes", "seeds", "table", "evaluated", "pictures")
    empty = dict.fromkeys((*lists, "class_groups", "curves", "confused", "fits"), ())
    page = fill_template("report.html", costs=costs, commit="", scores={}, loss_chart="", **empty)
    assert "7.5 to 9" in page and "out of memory" in page
    assert 'style="width: 75.0%"' in page and "a &lt;counter&gt;" in page


def test_old_profiles_without_a_breakdown_have_no_section(tmp_path: Path) -> None:
    assert cost_section([folder(tmp_path / "a", {"method": "zegclip", "gmacs": 0.5})]) == {}


def test_a_profile_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    broken = cost("zegclip", attention=1.0)
    del broken["speeds"]
    with pytest.raises(ValueError, match=r"a/profile.json: speeds: Field required; run the profile step"):
        cost_section([folder(tmp_path / "a", broken)])
