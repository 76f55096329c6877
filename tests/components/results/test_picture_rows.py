"""The report's rows of pictures: which are chosen, what they hold, and what they say went wrong."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from cascade_core.errors import UserError
from cascade_core.runtime.files import write_json
from components.results.picture_files import (
    MOST_KEPT,
    PICTURES_FILE,
    PREDICTIONS_FILE,
    KeptPicture,
    PictureRow,
    PicturesOfEvaluation,
    WorstPair,
    kept_names,
    read_kept,
    write_kept,
)
from components.results.picture_rows import ranked_places, section_of, sentence, sheets_of


def evaluation(folder: Path, scores: dict[str, float | None], predicted: int = 1) -> Path:
    """Write an evaluation's pictures of two halves, cat and dog, of which the prediction calls both `predicted`."""
    folder.mkdir()
    mistake = WorstPair(truth="cat", predicted="dog", share=0.5, share_of_class=1.0)
    rows = [
        PictureRow(name=name, pixels=0.5, miou=miou, miou_unseen=None, mistake=mistake, kept=True)
        for name, miou in scores.items()
    ]
    content = PicturesOfEvaluation(
        protocol="pets",
        split="test",
        background="dropped",
        classes=("cat", "dog", "cow"),
        unseen=("dog",),
        colours=(),
        pictures=tuple(rows),
    )
    write_json(folder / PICTURES_FILE, content.model_dump(mode="json"))
    truth = np.repeat(np.array([[0, 1]], dtype=np.uint8), 16, axis=1).repeat(32, axis=0)
    kept = KeptPicture(np.full((32, 32, 3), 90, np.uint8), truth, np.full((32, 32), predicted, np.uint8))
    with zipfile.ZipFile(folder / PREDICTIONS_FILE, "w") as archive:
        for name in scores:
            write_kept(archive, name, kept)
    return folder


@pytest.mark.parametrize("count", [6, 7, 8, 9, 400, 401])
def test_two_best_two_medians_and_two_worst_are_chosen(count: int) -> None:
    places = ranked_places(count)
    by_word = {word: [at for at, own in places.items() if own == word] for word in places.values()}
    middle = (count - 1) // 2
    assert by_word == {"best": [0, 1], "median": [middle, middle + 1], "worst": [count - 2, count - 1]}


@pytest.mark.parametrize(
    ("count", "places"), [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (5, [0, 2, 4])]
)
def test_a_short_ranking_shows_no_picture_twice(count: int, places: list[int]) -> None:
    assert sorted(ranked_places(count)) == places


def test_a_row_shows_picture_truth_and_every_method_once(tmp_path: Path) -> None:
    names = {f"p{i}": i / 10 for i in range(7)} | {"void": None}
    first, second = evaluation(tmp_path / "a", names), evaluation(tmp_path / "b", names, predicted=2)
    section = section_of([(first, "ZegCLIP"), (second, "Cascade-CLIP")])
    assert section["last"] == "Cascade-CLIP" and (section["num_ranked"], section["num_pictures"]) == (7, 8)
    assert [row["name"] for row in section["rows"]] == ["p6", "p5", "p3", "p2", "p1", "p0"]
    row = section["rows"][0]
    assert [tile["title"] for tile in row["tiles"]] == ["picture", "truth", "ZegCLIP", "Cascade-CLIP"]
    assert [tile["score"] for tile in row["tiles"]] == [None, None, 0.6, 0.6]
    assert len({tile["address"] for tile in row["tiles"]}) == 4
    assert [(one["name"], one["unseen"], one["true"]) for one in row["classes"]] == [
        ("cat", False, True),
        ("dog", True, True),
        ("cow", False, False),
    ]


def test_each_row_is_also_a_picture_named_by_its_rank(tmp_path: Path) -> None:
    names = {"p0": 0.2, "odd/name": 0.6}
    first, second = evaluation(tmp_path / "a", names), evaluation(tmp_path / "b", names, predicted=2)
    sheets = dict(sheets_of([(first, "ZegCLIP"), (second, "Cascade-CLIP")]))
    assert list(sheets) == ["0001-best-odd_name", "0002-worst-p0"]
    row = section_of([(first, "ZegCLIP"), (second, "Cascade-CLIP")])["rows"][0]
    pixels = {
        "#{:02x}{:02x}{:02x}".format(*pixel) for _, pixel in sheets["0001-best-odd_name"].getcolors(2**20)
    }
    assert {one["colour"] for one in row["classes"]} <= pixels  # the legend's
    assert dict(sheets_of([(tmp_path, "an evaluation of an early version")])) == {}


def test_a_method_without_a_picture_has_no_tile_in_its_row(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", {"p0": 0.5})
    second = evaluation(tmp_path / "b", {"p0": 0.5, "p1": 0.7})
    rows = section_of([(first, "ZegCLIP"), (second, "Cascade-CLIP")])["rows"]
    assert [len(row["tiles"]) for row in rows] == [3, 4]


def test_older_evaluations_without_pictures_have_no_section(tmp_path: Path) -> None:
    assert section_of([(tmp_path, "ZegCLIP")]) == {}


def test_an_archive_without_the_picture_is_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "a", {"p0": 0.5})
    with pytest.raises(
        UserError, match=r"predictions.zip does not hold the picture 'p9'.*run the evaluate step"
    ):
        read_kept(folder, "p9")
    (folder / PREDICTIONS_FILE).write_bytes(b"no archive")
    with pytest.raises(UserError, match="does not hold the picture 'p0'"):
        read_kept(folder, "p0")


def test_the_same_pictures_have_the_same_bytes(tmp_path: Path) -> None:
    files = [evaluation(tmp_path / name, {"p0": 0.5}) / PREDICTIONS_FILE for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_at_most_so_many_pictures_are_kept_evenly() -> None:
    names = [str(i) for i in range(3 * MOST_KEPT)]
    kept = kept_names(names)
    assert len(set(kept)) == MOST_KEPT and (kept[0], kept[-1]) == (names[0], names[-1])
    assert kept_names(names[:5]) == names[:5]


def test_the_sentence_names_what_went_wrong() -> None:
    pair = WorstPair(truth="cat", predicted="dog", share=0.004, share_of_class=0.31)
    assert sentence(pair, ("dog",)) == (
        "The largest mistake: 31 % of the seen class cat is labelled as the unseen class dog "
        "(less than 1 % of the picture)."
    )
    assert sentence(None, ()) == "Every labelled pixel is right."
