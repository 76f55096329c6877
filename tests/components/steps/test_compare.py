"""The comparison page: the same pictures for every model, scored one by one, in one file."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.clip.weights import load_clip
from cascade_core.configs.config import RunConfig
from cascade_core.configs.mini_recipes import mini_cascade_clip, mini_zegclip
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.steps import compare, evaluate
from components.tracking.experiments import experiment_id
from components.tracking.store import open_store
from tests.components.conftest import Folders
from tests.tiny import write_tiny_checkpoint


def checkpoint(folder: Path, folders: Folders, config: RunConfig) -> Path:
    write_tiny_checkpoint(folder, load_clip(folders.clip)[0], config)
    return folder


@pytest.fixture(scope="module")
def checkpoints(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Untrained models of both methods."""
    root = tmp_path_factory.mktemp("checkpoints")
    return [checkpoint(root / make.__name__, folders, make()) for make in (mini_zegclip, mini_cascade_clip)]


@pytest.fixture(scope="module")
def page(folders: Folders, checkpoints: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "out"
    done = compare.run(checkpoints=checkpoints, **folders.steps, split="val", out=out, device="cpu")
    assert done.num_pictures == 3
    return done.page


def test_the_page_is_self_contained_and_names_its_models(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', html)
    for text in ("ZegCLIP, inductive", "Cascade-CLIP, inductive", "mini-18-6", "tiger (unseen)"):
        assert text in html
    assert html.count('<section class="picture"') == 3


def test_the_page_is_an_artifact_of_a_run(
    folders: Folders, checkpoints: list[Path], store: Path, tmp_path: Path
) -> None:
    compare.run(
        checkpoints=checkpoints, **folders.steps, split="val", out=tmp_path / "out", device="cpu", limit=1
    )
    client = open_store()
    (run,) = client.search_runs([experiment_id(client, "mini-18-6")])
    assert (run.info.run_name, run.data.tags["split"]) == ("compare", "val")
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"compare.html", "pictures.json"}


def test_a_picture_has_tiles_for_itself_truth_and_each_model(page: Path, folders: Folders) -> None:
    (content,) = re.findall(r'<script type="application/json" id="tiles">(.*?)</script>', page.read_text())
    tiles = json.loads(content)
    assert {place: len(images) for place, images in tiles.items()} == {"0": 4, "1": 4, "2": 4}
    address, data = tiles["0"][0].split(",")
    assert address == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as tile:
        first = np.array(tile.convert("RGB"))
    (photo,) = folders.prepared.parent.rglob("val_0000.jpg")
    with Image.open(photo) as picture:
        assert np.array_equal(first, np.array(picture))


def test_pictures_are_labelled_as_evaluation_labels_them(
    page: Path, checkpoints: list[Path], folders: Folders, tmp_path: Path
) -> None:
    pictures = read_json(page.parent / compare.SCORES_FILE)["pictures"]
    whole = evaluate.run(**folders.steps, checkpoint=checkpoints[1], split="val", out=tmp_path / "evaluated")
    # All pictures are of one size without ignored pixels, so that shares average to the whole's.
    mean = np.mean([picture["scores"][1]["pixels"] for picture in pictures])
    assert mean == pytest.approx(whole.pAcc, abs=1e-4)


def test_what_cannot_be_compared_is_refused(
    checkpoints: list[Path], folders: Folders, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="1 checkpoint given; a comparison needs two"):
        compare.run(checkpoints=checkpoints[:1], **folders.steps, split="val", out=tmp_path / "out")
    base = mini_zegclip()
    other = base.model_copy(update={"data": base.data.model_copy(update={"protocol": "voc12-15-5"})})
    foreign = checkpoint(tmp_path / "foreign", folders, other)
    with pytest.raises(ValueError, match="of protocols mini-18-6, voc12-15-5"):
        compare.run(checkpoints=[checkpoints[0], foreign], **folders.steps, split="val", out=tmp_path / "out")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_1_is_refused_by_every_step(
    limit: int, folders: Folders, checkpoints: list[Path], tmp_path: Path
) -> None:
    arguments = {**folders.steps, "split": "val", "out": tmp_path / "out", "limit": limit}
    message = f"limit is {limit}; give 1 or more pictures, or leave it out to take all"
    with pytest.raises(UserError, match=message):
        evaluate.run(checkpoint=checkpoints[0], **arguments)
    with pytest.raises(UserError, match=message):
        compare.run(checkpoints=checkpoints, **arguments)


def test_a_limit_spreads_and_equal_titles_are_numbered(
    checkpoints: list[Path], folders: Folders, tmp_path: Path
) -> None:
    twice = [checkpoints[0], checkpoints[0]]
    compare.run(checkpoints=twice, **folders.steps, split="val", out=tmp_path / "out", limit=2)
    content = read_json(tmp_path / "out" / compare.SCORES_FILE)
    assert [picture["name"] for picture in content["pictures"]] == ["val_0000", "val_0002"]
    assert content["models"] == ["ZegCLIP, inductive (1)", "ZegCLIP, inductive (2)"]
