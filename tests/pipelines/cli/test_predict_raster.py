"""`cascade-clip predict --raster`: from a file to a label map."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from tests.components.rasters.test_labelling import opened, pixels, write

pytest.importorskip("rasterio", reason="the extra `raster` is not installed")

WORDS = ["predict", "--model", "mini", "--labels", "zebra,sand", "--threads", "1"]


def test_a_raster_becomes_a_label_map(tmp_path: Path) -> None:
    source = write(tmp_path / "in.tif", pixels(height=70, width=90))
    out = tmp_path / "labels.tif"
    done = CliRunner().invoke(app, [*WORDS, "--raster", str(source), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out}\n"
    with opened(out) as file:
        assert set(np.unique(file.read(1))) <= {0, 1}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--stretch", "2"], "--stretch is '2'; give two percentiles such as 2,98"),
        (["--bands", "red"], "--bands 'red' are not whole numbers"),
        (["--overlay"], "--overlay is not for rasters"),
        (["--mode", "whole"], "--mode is not for rasters"),
        (["some.jpg"], "--pictures is not for rasters"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, words: list[str], reason: str) -> None:
    done = CliRunner().invoke(
        app, [*WORDS, "--raster", str(tmp_path / "no.tif"), "--out", str(tmp_path / "out.tif"), *words]
    )
    assert done.exit_code == 2
    assert f"error: {reason}" in done.stderr
