"""The page's requests without a browser: the field of class names, photographs, and the figure in HTML."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_core.errors import UserError
from cascade_core.inference.prediction import Prediction
from cascade_core.predictor import Predictor
from cascade_core.runtime.files import read_json
from components.demo.figure import figure
from components.demo.segmenting import names_in_field, notes, read_photograph, segment, with_titles
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    root = tmp_path_factory.mktemp("model")
    write_tiny_checkpoint(root / "final", write_tiny_clip(root / "clip"), tiny_config())
    return Predictor.load(root / "final", root / "clip", device="cpu")


def test_names_stand_between_commas_or_on_lines_of_their_own() -> None:
    field = 'zebra,  "salt, pepper",\n\n sand\n, tall  grass,'
    assert names_in_field(field) == ("zebra", "salt, pepper", "sand", "tall grass")


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        (" \n, ,", "There are no class names; write some"),
        (",".join(map(str, range(1001))), "There are 1,001 class names, and this page takes 1,000"),
        ('a, "b', "Class names: 'a, \"b' is not a list of names"),
        ("a, A", "more than once"),
    ],
)
def test_an_impossible_field_is_refused_in_a_sentence(field: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        names_in_field(field)


def test_a_request_shows_how_far_its_names_are(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((24, 24, 3), np.uint8)).save(tmp_path / "a.png")
    picture, calls = read_photograph(tmp_path / "a.png"), list[tuple[int, int]]()
    (model,) = with_titles([predictor])
    names = ("zebra", "sand")
    segment(model, picture, names, out=tmp_path / "out", on_texts=lambda *call: calls.append(call))
    assert calls[0][0] == 0 and calls[-1][0] == calls[-1][1] > 0


def test_a_file_that_is_no_picture_is_called_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "secret-folder" / "notes.png"
    file.parent.mkdir()
    file.write_text("no picture")
    with pytest.raises(UserError, match=r"^notes\.png: cannot be decoded"):
        read_photograph(file)


def test_an_answer_has_the_files_of_the_predict_command(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(np.arange(24 * 40 * 3, dtype=np.uint8).reshape(24, 40, 3)).save(tmp_path / "a.png")
    names = ("zebra", "grass")
    answer = segment(
        with_titles([predictor])[0], read_photograph(tmp_path / "a.png"), names, out=tmp_path / "out"
    )
    prediction = predictor.predict(tmp_path / "a.png", names)
    with Image.open(answer.files.label_map) as picture:
        assert np.array_equal(np.asarray(picture), prediction.label_map)
    content = read_json(answer.files.classes)
    assert (content["picture"], content["request"]["model"]) == ("a.png", predictor.identity)
    assert answer.files.overlay.is_file() and "Cascade-CLIP, inductive" in answer.figure


def test_equal_models_get_titles_of_their_own(predictor: Predictor) -> None:
    titles = [model.title for model in with_titles([predictor, predictor])]
    assert titles == ["Cascade-CLIP, inductive (1)", "Cascade-CLIP, inductive (2)"]


def test_the_mini_model_says_what_it_cannot_do(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notes(with_titles([predictor])) == []
    monkeypatch.setattr("components.demo.segmenting.MINI_CLIP", predictor.manifest.config.model.clip)
    (note,) = notes(with_titles([predictor]))
    assert "cannot segment photographs" in note and "zebra" in note
    own = predictor.manifest.config.data.model_copy(update={"own": "a label file's content"})
    config = predictor.manifest.config.model_copy(update={"data": own})
    monkeypatch.setattr(predictor, "manifest", predictor.manifest.model_copy(update={"config": config}))
    (note,) = notes(with_titles([predictor]))
    assert "the pictures of the training" in note and "drawn scenes" not in note


def test_a_figure_escapes_names_and_lists_absent_classes() -> None:
    names = ("<b>sky</b>", *(f"class {i}" for i in range(3)))
    ids = np.zeros((4, 6), dtype=np.uint8)
    ids[:, 3:] = 2
    prediction = Prediction(ids, names, np.full((4, 6), 0.25, dtype=np.float32))
    html = figure("<i>model</i>", np.zeros((4, 6, 3), dtype=np.uint8), prediction, ())
    assert "<b>" not in html and "<i>model" not in html and "&lt;b&gt;sky&lt;/b&gt;" in html
    assert html.count("<td>50.0 %</td><td>25.0 %</td>") == 2
    assert "Without a pixel: class 0, class 2." in html


def test_a_large_photograph_is_shrunk_on_the_page_alone() -> None:
    ids = np.zeros((10, 3000), dtype=np.uint8)
    prediction = Prediction(ids, ("sky",), np.ones((10, 3000), dtype=np.float32))
    html = figure("model", np.zeros((10, 3000, 3), dtype=np.uint8), prediction, ())
    assert "3000 x 10 pixels" in html and "aspect-ratio: 3000 / 10" in html and len(html) < 5000
