"""The predict command: pictures of many kinds, and files that are not pictures."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.errors import UserError
from cascade_core.labels.background import Background
from cascade_core.predictor import Predictor, eval_settings
from cascade_core.runtime.files import read_json
from components.contract.shared import names_by_commas
from components.inputs.labels_given import labels_given
from components.pictures import predict
from components.pictures.picture_files import PictureFile, picture_files
from components.pictures.result_files import Parts, check_replaceable
from pipelines.cli.app import app
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

LABELS = ["zebra", "tiger", "sand"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    root = tmp_path_factory.mktemp("model")
    write_tiny_checkpoint(root / "final", write_tiny_clip(root / "clip"), tiny_config())
    write_model_folder(root / "final", root / "clip", root / "model")
    return root / "model"


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return Predictor.load(model, device="cpu")


def pixels(height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray | None = None, mode: str = "RGB", **options: object) -> PictureFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels() if array is None else array).convert(mode).save(path, **options)
    return PictureFile(path, path.stem)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_every_kind_of_picture_gets_an_upright_map_of_its_size(predictor: Predictor, tmp_path: Path) -> None:
    files = [
        save(tmp_path / "cmyk.jpg", mode="CMYK"),
        save(tmp_path / "sideways.jpg", exif=rotated()),
        save(tmp_path / "grey.png", mode="L"),
        save(tmp_path / "alpha.png", mode="RGBA"),
        save(tmp_path / "palette.gif", mode="P"),
        save(tmp_path / "dot.png", pixels(1, 1)),
        save(tmp_path / "bits.png", mode="1"),
    ]
    request = {"pictures": files, "labels": LABELS, "out": tmp_path / "out", "parts": Parts(overlay=True)}
    result = predict.run(predictor=predictor, batch=4, **request)
    assert not result.failed
    sizes = {p.label_map.name: opened(p.label_map).shape for p in result.written}
    assert sizes.pop("dot_labels.png") == (1, 1)
    assert sizes.pop("sideways_labels.png") == (40, 24)
    assert len(sizes) == 5
    assert set(sizes.values()) == {(24, 40)}
    assert all(opened(written.overlay).shape[0] >= 24 for written in result.written)


def test_bad_pictures_are_reported_and_do_not_stop_the_others(predictor: Predictor, tmp_path: Path) -> None:
    good = [save(tmp_path / "a.png"), save(tmp_path / "z.png")]
    cut = PictureFile(tmp_path / "cut.jpg", "cut")
    save(cut.path)
    cut.path.write_bytes(cut.path.read_bytes()[:-200])
    text = PictureFile(tmp_path / "text.png", "text")
    text.path.write_text("no picture")
    deep = save(tmp_path / "deep.png", np.zeros((24, 40), dtype=np.uint16), mode="I;16")
    gone = PictureFile(tmp_path / "gone.png", "gone")
    wide = save(tmp_path / "wide.png", np.zeros((8, 300_000, 3), dtype=np.uint8))

    files = [good[0], cut, text, deep, gone, wide, good[1]]
    result = predict.run(predictor=predictor, pictures=files, labels=LABELS, out=tmp_path / "out", batch=8)

    assert [written.classes.name for written in result.written] == ["a_classes.json", "z_classes.json"]
    assert set(result.failed) == {file.path for file in (cut, text, deep, gone, wide)}
    assert all(str(path) in reason for path, reason in result.failed.items())
    assert "use sliding windows" in result.failed[wide.path]
    assert sorted(path.name for path in (tmp_path / "out").glob("*_*")) == [
        f"{name}_{kind}" for name in "az" for kind in ("classes.json", "labels.png")
    ]


def test_a_picture_with_broken_exif_is_reported_by_name(predictor: Predictor, tmp_path: Path) -> None:
    exif = rotated()
    exif[0x010E] = "a description"
    file = save(tmp_path / "a.jpg", exif=exif)
    # Text in a numeric tag: Pillow fails when it writes the tags of the picture it turned upright.
    damaged = file.path.read_bytes().replace(b"\x01\x0e\x00\x02", b"\x01\x56\x00\x02", 1)
    file.path.write_bytes(damaged)
    result = predict.run(predictor=predictor, pictures=[file], labels=LABELS, out=tmp_path / "out")
    assert "a.jpg: cannot be decoded as a picture" in result.failed[file.path]


def test_json_reports_areas_and_confidence_of_the_label_map(predictor: Predictor, tmp_path: Path) -> None:
    (written,) = predict.run(
        predictor=predictor,
        pictures=[save(tmp_path / "a.png")],
        labels=LABELS,
        out=tmp_path / "out",
        parts=Parts(confidence_map=True),
    ).written
    report, ids = read_json(written.classes), opened(written.label_map)
    assert report["request"]["labels"] == LABELS
    assert sum(area["pixels"] for area in report["classes"]) == ids.size == report["width"] * report["height"]
    assert written.confidence is not None
    levels = opened(written.confidence) / 255
    for area in report["classes"]:
        assert area["pixels"] == np.count_nonzero(ids == area["id"])
        assert area["label"] == LABELS[area["id"]]
        assert area["confidence"] == pytest.approx(levels[ids == area["id"]].mean(), abs=0.003)
    assert report["mean_confidence"] == pytest.approx(levels.mean(), abs=0.003)


def test_batches_change_no_label(predictor: Predictor, tmp_path: Path) -> None:
    files = [save(tmp_path / f"{i}.png", np.roll(pixels(24 + 8 * (i % 2)), i, axis=0)) for i in range(5)]
    maps = {}
    for batch in (1, 4):
        out = tmp_path / f"out{batch}"
        result = predict.run(predictor=predictor, pictures=files, labels=LABELS, out=out, batch=batch)
        maps[batch] = {w.label_map.name: opened(w.label_map).tobytes() for w in result.written}
    assert len(maps[1]) == 5
    assert maps[1] == maps[4]


def test_resuming_skips_equal_requests_of_equal_pictures(predictor: Predictor, tmp_path: Path) -> None:
    files = [save(tmp_path / "a.png"), save(tmp_path / "b.png", pixels()[::-1])]
    out = tmp_path / "out"

    def again(labels: list[str] = LABELS, **options: bool) -> tuple[int, int]:
        result = predict.run(
            predictor=predictor, pictures=files, labels=labels, out=out, resume=True, **options
        )
        return len(result.written), len(result.skipped)

    assert again() == (2, 0)
    assert again() == (0, 2)
    assert again(flip=True) == (2, 0)
    assert again(LABELS[:2]) == (2, 0)
    save(files[0].path, pixels()[:, ::-1])
    (out / "b_labels.png").unlink()
    assert again(LABELS[:2]) == (2, 0)
    assert again(LABELS[:2]) == (0, 2)


def test_resuming_reads_no_finished_picture_and_outlives_a_kill(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [save(tmp_path / f"{name}.png") for name in "abc"]
    run = partial(
        predict.run, predictor=predictor, pictures=files, labels=LABELS, out=tmp_path / "out", resume=True
    )
    run()
    table = tmp_path / "out" / "finished.jsonl"
    table.write_text(table.read_text()[:-9])  # half a line, as a killed call leaves it
    (last,) = run().written
    assert last.classes.name == "c_classes.json"
    monkeypatch.setattr(predict.StampedFile, "read", lambda _: pytest.fail("a finished picture was read"))
    assert run().skipped == [file.path for file in files]
    os.utime(files[1].path, (1, 1))
    with pytest.raises(pytest.fail.Exception, match="was read"):
        run()


def test_only_results_of_this_command_are_replaced(predictor: Predictor, tmp_path: Path) -> None:
    files, out = [save(tmp_path / "a.png"), save(tmp_path / "b.png")], tmp_path / "out"
    parts = Parts(overlay=True, confidence_map=True)
    predict.run(predictor=predictor, pictures=files, labels=LABELS, out=out, parts=parts)
    check = partial(check_replaceable, out, files, parts)
    check()
    (out / "a_classes.json").unlink()  # as if killed before the end of a picture
    check()
    for path in out.glob("b_*.png"):  # results of earlier versions name no software
        save(path)
    check()
    save(out / "a_labels.png")
    (out / "b_classes.json").write_text('{"thesis": 1}')
    with pytest.raises(
        UserError, match=r"a_labels.png, .*b_overlay.png, .*b_labels.png and 2 more: .* did not write"
    ):
        check()


def test_a_foreign_file_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png").path
    own = tmp_path / "out" / "a_labels.png"
    own.parent.mkdir()
    own.write_bytes(b"a thesis")
    arguments = [
        str(picture),
        "--labels",
        "zebra",
        "--model",
        str(tmp_path / "gone"),
        "--out",
        str(own.parent),
    ]
    done = CliRunner().invoke(app, ["predict", *arguments])
    assert done.exit_code == 2 and "did not write" in done.output
    assert own.read_bytes() == b"a thesis"


def test_resuming_with_another_batch_size_skips_all(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"pictures": [save(tmp_path / "a.png")], "labels": LABELS, "out": tmp_path / "out"}
    predict.run(predictor=predictor, **request)
    monkeypatch.setattr(predictor, "evaluate", eval_settings(predictor.evaluate, batch_size=7))
    again = predict.run(predictor=predictor, **request, batch=7, resume=True)
    assert [path.name for path in again.skipped] == ["a.png"]


def test_an_unknown_background_name_fails_before_any_picture(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        predictor,
        "evaluate",
        eval_settings(predictor.evaluate, background=Background(policy="prompts", names=("unicorn",))),
    )
    nothing = [PictureFile(tmp_path / "gone.png", "gone")]
    with pytest.raises(ValueError, match="unicorn"):
        predict.run(predictor=predictor, pictures=nothing, labels=LABELS, out=tmp_path / "out")


def test_invalid_requests_fail_before_any_picture(predictor: Predictor, tmp_path: Path) -> None:
    nothing = [PictureFile(tmp_path / "gone.png", "gone")]
    for options, message in (({"labels": ["unicorn"]}, "unicorn"), ({"scales": (-1.0,)}, "scale -1.0"),
                          ({"batch": 0}, "batch of 0")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            predict.run(
                **{"predictor": predictor, "pictures": nothing, "labels": LABELS, "out": tmp_path, **options}
            )


def test_files_folders_and_patterns_name_pictures_once(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/sub/b.jpg", "in/.hidden/c.png", "c.png"):
        save(tmp_path / name)
    (tmp_path / "in" / "notes.txt").write_text("")
    given = [tmp_path / "c.png", tmp_path / "in", f"{tmp_path}/**/*.png"]
    files = picture_files(given, out=tmp_path / "out")
    assert [file.name for file in files] == ["c", "a", "sub/b"]


def test_results_of_an_earlier_call_are_not_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.png")
    result = save(tmp_path / "out" / "a_overlay.png").path
    assert [file.name for file in picture_files([tmp_path], out=tmp_path / "out")] == ["a"]
    assert (
        "1 files are skipped, because pictures in the output folder are results: out/a_overlay" in caplog.text
    )
    with pytest.raises(ValueError, match="all pictures .* are in the output folder"):
        picture_files([tmp_path], out=tmp_path)
    assert [file.name for file in picture_files([result], out=tmp_path / "out")] == ["a_overlay"]


def test_pictures_of_one_name_keep_their_suffix_or_are_refused(tmp_path: Path) -> None:
    given = [save(tmp_path / "x" / "a.png").path, save(tmp_path / "x" / "a.jpg").path]
    assert [file.name for file in picture_files(given, out=tmp_path / "out")] == ["a.png", "a.jpg"]
    other = save(tmp_path / "y" / "a.png").path
    with pytest.raises(ValueError, match="would write to the same files"):
        picture_files([*given, other], out=tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "message"),
    [("*.png", "no file matches"), (".", "no picture in"), ("gone.png", "gone.png is a link to nothing")],
)
def test_arguments_without_a_picture_are_refused(
    given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if given == "gone.png":
        Path(given).symlink_to("nowhere")
    with pytest.raises(ValueError, match=message):
        picture_files([given], out=tmp_path / "out")


def test_a_data_set_s_name_stands_for_its_classes() -> None:
    assert len(labels_given(["cocostuff"], None)) == 171
    assert labels_given(["voc12-15-5"], None)[0] == "aeroplane"
    assert labels_given(["context59", "voc12"], None) == ("context59", "voc12")  # two names are classes


def test_a_cutout_shows_the_pixels_of_its_labels(predictor: Predictor, tmp_path: Path) -> None:
    run = partial(
        predict.run,
        predictor=predictor,
        pictures=[save(tmp_path / "a.png")],
        labels=LABELS,
        out=tmp_path / "out",
    )
    plain = run()
    label_map = opened(plain.written[0].label_map)
    present = LABELS[label_map.flat[0]]
    (written,) = run(cutout=[present]).written
    assert written.cutout is not None
    picture = opened(written.cutout)
    assert np.array_equal(picture[..., :3], pixels())
    assert np.array_equal(picture[..., 3] == 255, label_map == LABELS.index(present))
    assert set(np.unique(picture[..., 3])) <= {0, 255}
    # Other requests: results without the cutout do not count as done.
    assert not run(cutout=LABELS[:2], resume=True).skipped and run(cutout=LABELS[:2], resume=True).skipped
    with pytest.raises(UserError, match="--cutout names dog; give some of the labels: zebra, tiger, sand"):
        run(cutout=["dog"])


def test_names_with_commas_come_in_quotes_or_from_a_file(tmp_path: Path) -> None:
    assert labels_given(names_by_commas('cat, "salt, pepper",  sea'), None) == ("cat", "salt, pepper", "sea")
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeffsalt, pepper\n\nтигр\n".encode())
    assert labels_given(None, file) == ("salt, pepper", "тигр")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "is not UTF-8"), (b"cat\nCat\n", "labels.txt: labels name cat"), (None, "cannot be read")],
)
def test_invalid_label_lists_are_refused_by_name(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        labels_given(None, file)
    with pytest.raises(ValueError, match="leave one of them out"):
        labels_given(["cat"], file)


@pytest.mark.parametrize(
    ("options", "windows", "pictures"), [([], 3, 1), (["--batch", "1"], 1, 1), (["--batch", "5"], 5, 5)]
)
def test_the_batch_option_overrides_the_recipe(
    options: list[str],
    windows: int,
    pictures: int,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(tmp_path / "a.png")
    batches: list[tuple[int, int]] = []

    def record(*, predictor: Predictor, batch: int, **_: object) -> list[predict.Done]:
        batches.append((predictor.evaluate.batch_size, batch))
        return []

    loaded = Predictor.load(model, device="cpu")
    loaded.evaluate = eval_settings(loaded.evaluate, batch_size=3)

    monkeypatch.setattr(predict, "each", record)
    monkeypatch.setattr("components.registry.default_model.load_predictor", lambda *_, **__: loaded)
    arguments = ["predict", str(tmp_path / "a.png"), "--labels", "zebra", "--model", str(model), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert batches == [(windows, pictures)]


def test_the_command_goes_on_past_a_bad_picture_and_ends_with_3(model: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("no picture")
    arguments = ["predict", str(tmp_path / "in"), "--labels", "zebra, tiger", "--model", str(model)]
    done = CliRunner().invoke(
        app, [*arguments, "--out", str(tmp_path / "out"), "--scales", "1,1.5", "--flip", "--device", "cpu"]
    )
    assert done.exit_code == 3, done.output
    assert done.stdout.strip() == str(tmp_path / "out" / "a_labels.png")
    assert not (tmp_path / "out" / "a_overlay.png").exists()
    assert "failed: " in done.stderr and "b.png: cannot be decoded as a picture" in done.stderr
    assert "1 of 2 pictures failed" in done.stderr
    assert read_json(tmp_path / "out" / "a_classes.json")["request"]["scales"] == [1.0, 1.5]


def test_the_command_takes_a_penalty_and_a_rule_for_synonyms(model: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    useless = "--seen-penalty changes nothing: the training saw all of these labels"

    def run(*options: str, labels: str = "zebra, tiger, sand") -> dict[str, Any]:
        command = ["predict", str(tmp_path / "a.png"), "--model", str(model), "--labels", labels]
        done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), *options])
        assert done.exit_code == 0, done.output
        assert (useless in done.output) == (labels == "zebra")
        return read_json(tmp_path / "out/a_classes.json")

    plain = run()
    assert (plain["request"]["inference"]["seen_penalty"], plain["request"]["inference"]["synonyms"]) == (
        0.1,
        "mean",
    )
    changed = run("--seen-penalty", "1", "--synonyms", "maximum")["request"]["inference"]
    assert (changed["seen_penalty"], changed["synonyms"]) == (1, "maximum")
    unseen = {"tiger", "sand"} & set(tiny_config().data.split.unseen_names)
    assert {area["label"] for area in run("--seen-penalty", "1")["classes"]} <= unseen
    run("--seen-penalty", "1", labels="zebra")
    done = CliRunner().invoke(app, ["predict", "a.png", "--labels", "zebra", "--seen-penalty", "2"])
    assert done.exit_code == 2 and "give a number from 0 to 1" in done.output


def test_a_changed_seen_penalty_is_another_request(predictor: Predictor) -> None:
    before = predict.request_of(predictor, ("zebra",)).record()
    other = Predictor.__new__(Predictor)
    other.__dict__.update(predictor.__dict__)
    other.seen_penalty = 0.5
    assert predict.request_of(other, ("zebra",)).record() != before
