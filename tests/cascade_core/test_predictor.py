"""Prediction: evaluation's inference for any class names, and errors for unusable input."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_core.batches.transforms import EvalTransform
from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.model_folder import write_model_folder
from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import copy_text_tower, load_clip, load_text_tower
from cascade_core.configs.config import RunConfig
from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.inference.label_maps import label_maps
from cascade_core.inference.labelling import best_classes
from cascade_core.inference.strips import Limits, ViewBatch
from cascade_core.inference.vocabulary import Vocabulary
from cascade_core.labels.background import Background
from cascade_core.labels.label_file import LabelFile
from cascade_core.predictor import (
    Predictor,
    checked_labels,
    device_named,
    eval_settings,
)
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

CPU = torch.device("cpu")
SPLIT = protocol("mini-18-6")


def _picture(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip") / "clip"
    write_tiny_clip(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return _predictor(clip, tmp_path_factory.mktemp("run"), tiny_config())


def _predictor(clip: Path, folder: Path, config: RunConfig, *, setting: str = "inductive") -> Predictor:
    write_tiny_checkpoint(folder / "final", load_clip(clip)[0], config, setting=setting)
    return Predictor.load(folder / "final", clip, device=CPU)


@pytest.mark.parametrize("setting", ["inductive", "transductive_oracle"])
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_prediction_equals_evaluation_on_all_classes(
    mode: str, setting: str, clip: Path, tmp_path: Path
) -> None:
    config = tiny_config(mode=mode, short_side=48)
    predictor = _predictor(clip, tmp_path, config, setting=setting)
    picture = _picture()

    predicted = predictor.predict(picture, SPLIT.classes).label_map

    segmentor, _ = load_segmentor(tmp_path / "final")
    model, tokenizer = load_clip(clip)
    vectors = class_vectors(model.text, tokenizer, SPLIT.classes, config.data.templates)
    penalty = 0.1 if setting == "inductive" else 0.0
    label = np.zeros(picture.shape[:2], dtype=np.uint8)
    image = EvalTransform(config.data, short_side=48)(picture, label, np.random.default_rng())[0]
    vocabulary = Vocabulary(segmentor, vectors, "sigmoid", seen=SPLIT.seen, seen_penalty=penalty)
    expected = label_maps(vocabulary, image[None], evaluate=config.evaluate, size=(40, 56))
    assert np.array_equal(predicted, expected[0].numpy())


def test_seen_names_pay_the_seen_penalty_in_any_order(clip: Path, tmp_path: Path) -> None:
    predictor = _predictor(clip, tmp_path, tiny_config(seen_penalty=2.0))
    assert set(predictor.predict(_picture(), ["zebra", "Tiger", "grass"]).shares()) == {"Tiger"}


def test_a_stated_seen_penalty_holds_in_every_setting(clip: Path, tmp_path: Path) -> None:
    predictor = _predictor(clip, tmp_path, tiny_config(), setting="transductive_oracle")
    names = ["zebra", "Tiger", "grass"]
    assert predictor.seen_penalty == 0 and predictor.seen(names) == [0, 2]
    before = predictor.vocabulary(names)
    predictor.seen_penalty = 1.0
    assert predictor.vocabulary(names) is not before
    assert predictor.predict(_picture(), names).shares() == {"Tiger": 1.0}
    predictor.evaluate = eval_settings(predictor.evaluate, seen_penalty=0.3)
    assert predictor.seen_penalty == 1.0
    with pytest.raises(UserError, match="--seen-penalty is 1.5; give a number from 0 to 1"):
        predictor.seen_penalty = 1.5


def test_a_custom_class_keeps_its_synonyms(clip: Path, tmp_path: Path) -> None:
    predictor, templates = _predictor(clip, tmp_path, tiny_config()), tiny_config().data.templates
    own = LabelFile.model_validate(
        {"name": "own", "classes": [{"name": "zebra", "synonyms": ["tiger"]}, "sand"]}
    )
    data = tiny_config().data.model_copy(update={"own": own, "protocol": own.protocol})
    config = predictor.manifest.config.model_copy(update={"data": data})
    predictor.manifest = predictor.manifest.model_copy(update={"config": config})
    text, tokenizer = load_text_tower(clip)

    averaged = class_vectors(text, tokenizer, ["Zebra", "sand"], templates, synonyms=[["tiger"], []])
    assert torch.equal(predictor.class_vectors(["Zebra", "sand"]), averaged)
    # One that is vocabulary for by itself is no other class's.
    apart = class_vectors(text, tokenizer, ["zebra", "tiger"], templates)
    assert torch.equal(predictor.class_vectors(["zebra", "tiger"]), apart)


def test_by_maximum_each_synonym_competes(clip: Path, tmp_path: Path) -> None:
    predictor = _predictor(clip, tmp_path, tiny_config())
    apart = predictor.predict(_picture(), ["zebra", "tiger", "sand"]).label_map
    own = LabelFile.model_validate(
        {"name": "own", "classes": [{"name": "zebra", "synonyms": ["tiger"]}, "sand"]}
    )
    data = tiny_config().data.model_copy(update={"own": own, "protocol": own.protocol})
    config = predictor.manifest.config.model_copy(update={"data": data})
    # Of no seen class, so that no name pays a penalty in either prediction.
    predictor.manifest = predictor.manifest.model_copy(update={"config": config, "unseen": SPLIT.classes})
    predictor.evaluate = eval_settings(predictor.evaluate, synonyms="maximum")
    vocabulary = predictor.vocabulary(["zebra", "sand"])
    assert (len(vocabulary), vocabulary.num_classes, vocabulary.query_classes) == (3, 2, [0, 0, 1])
    joined = predictor.predict(_picture(), ["zebra", "sand"]).label_map
    assert np.array_equal(joined, np.array([0, 0, 1])[apart])


def test_the_cached_vocabulary_depends_on_names_and_settings(clip: Path, tmp_path: Path) -> None:
    predictor = _predictor(clip, tmp_path, tiny_config())
    vocabulary = predictor.vocabulary(["zebra", "sand"])
    assert predictor.vocabulary([" zebra", "sand"]) is vocabulary
    assert predictor.vocabulary(["sand", "zebra"]) is not vocabulary
    predictor.evaluate = predictor.evaluate.model_copy(update={"seen_penalty": 0.3})
    changed = predictor.vocabulary(["zebra", "sand"])
    assert changed.seen_penalty == 0.3 and torch.equal(changed.class_vectors, vocabulary.class_vectors)


def test_the_order_of_names_only_renumbers_the_map(predictor: Predictor) -> None:
    names = ["zebra", "tiger", "sand", "grass"]
    forward = predictor.predict(_picture(), names)
    backward = predictor.predict(_picture(), names[::-1])
    assert np.array_equal(forward.label_map, 3 - backward.label_map)


@pytest.mark.parametrize(
    ("background", "possible"),
    [
        (Background(policy="threshold", threshold=1), {"background"}),
        (Background(policy="threshold", threshold=0), {"zebra", "tiger"}),
        (Background(policy="prompts", names=("sand", "grass")), {"zebra", "tiger", "background"}),
    ],
)
def test_background_follows_its_policy(
    clip: Path, tmp_path: Path, background: Background, possible: set[str]
) -> None:
    write_tiny_checkpoint(tmp_path, load_clip(clip)[0], tiny_config(seen_penalty=0.0))
    predictor = Predictor.load(tmp_path, clip, device=CPU)
    predictor.evaluate = eval_settings(predictor.evaluate, background=background)
    prediction = predictor.predict(_picture(), ["zebra", "tiger"])
    assert prediction.labels == ("zebra", "tiger", "background")
    assert set(prediction.shares()) <= possible
    if background.policy == "prompts":
        plain = Predictor.load(tmp_path, clip, device=CPU)
        best = plain.predict(_picture(), ["zebra", "tiger", "sand", "grass"]).label_map
        assert np.array_equal(prediction.label_map, np.minimum(best, 2))


def test_a_label_that_the_background_policy_gives_is_refused(clip: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path, load_clip(clip)[0], tiny_config())
    predictor = Predictor.load(tmp_path, clip, device=CPU)
    policy = Background(policy="threshold", threshold=0.5)
    predictor.evaluate = eval_settings(predictor.evaluate, background=policy)
    with pytest.raises(ValueError, match="policy 'threshold' already gives label 'Background'"):
        predictor.predict(_picture(), ["zebra", "Background"])


def test_pillow_pictures_and_arrays_are_the_same(predictor: Predictor) -> None:
    picture = _picture()
    names = ["zebra", "tiger"]
    from_array = predictor.predict(picture, names)
    assert np.array_equal(from_array.label_map, predictor.predict(Image.fromarray(picture), names).label_map)
    assert from_array.label_map.shape == picture.shape[:2]


def test_shares_of_the_pixels_sum_to_one(predictor: Predictor) -> None:
    shares = predictor.predict(_picture(), SPLIT.classes).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_an_unknown_word_is_refused_with_the_known_words(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"unicorn.*known are.*zebra"):
        predictor.predict(_picture(), ["zebra", "unicorn"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "0 labels given"),
        (["zebra", "  "], "label 2 of 2 is empty"),
        (["zebra", "tiger", " Zebra"], "zebra more than once"),
        ("zebra, tiger", "split it at its commas"),
        ([f"thing {i}" for i in range(2**16)], "1 to 65535"),
    ],
)
def test_unusable_labels_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_labels(labels)


def test_pictures_that_are_not_8_bit_rgb_are_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match=r"shape \(40, 56\) and type uint8"):
        predictor.predict(_picture()[..., 0], ["zebra"])


def test_a_picture_file_is_predicted_like_its_array(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(_picture()).save(tmp_path / "photo.png")
    names = ["zebra", "tiger"]
    from_file = predictor.predict(tmp_path / "photo.png", names)
    assert np.array_equal(from_file.label_map, predictor.predict(_picture(), names).label_map)


def test_a_batch_needs_pictures_of_one_size(predictor: Predictor) -> None:
    pictures = [_picture(), _picture()[::-1].copy()]
    together = predictor.predict_equal(pictures, ["zebra", "tiger", "sand"])
    for picture, prediction in zip(pictures, together, strict=True):
        single = predictor.predict(picture, ["zebra", "tiger", "sand"])
        assert np.array_equal(prediction.label_map, single.label_map)
        assert np.allclose(prediction.confidence, single.confidence, atol=1e-6)
    with pytest.raises(ValueError, match="of one size, got 40 x 56, 56 x 40"):
        predictor.predict_equal([_picture(), _picture(56, 40)], ["zebra"])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 3)])
def test_the_smallest_pictures_are_labelled_too(size: tuple[int, int], predictor: Predictor) -> None:
    assert predictor.predict(_picture(*size), ["zebra", "tiger"]).label_map.shape == size


def test_a_picture_too_large_to_see_whole_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="use sliding windows, or a shorter short side"):
        predictor.predict(np.zeros((8, 300_000, 3), dtype=np.uint8), ["zebra"])


def test_settings_of_the_inference_are_checked(predictor: Predictor) -> None:
    assert eval_settings(predictor.evaluate, mode="slide", short_side=None).mode == "slide"
    assert eval_settings(predictor.evaluate, precision="bf16").precision == "bf16"
    with pytest.raises(
        ValueError,
        match="^inference setting: mode: Input should be 'whole', 'slide' or 'slide_and_whole' .got 'windows'.$",
    ):
        eval_settings(predictor.evaluate, mode="windows")


def test_a_device_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'tpux' is unknown; give cpu, cuda or mps"):
        device_named("tpux")
    for name in ("meta", "xpu:1"):
        with pytest.raises(ValueError, match=f"device '{name}' is not supported here; give cpu, cuda or mps"):
            device_named(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'mps' is not available: torch reaches no GPU of Apple's here"):
        device_named("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_named("mps") == torch.device("mps")
    with pytest.raises(ValueError, match="'mps' is not supported here; give cpu or cuda"):
        device_named("mps", ("cpu", "cuda"))
    with pytest.raises(
        ValueError, match="'cuda:99' is not available: torch finds .* CUDA devices; give .*cpu"
    ):
        device_named("cuda:99")


def test_a_checkpoint_without_its_clip_says_where_to_put_both(clip: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "final", load_clip(clip)[0], tiny_config())
    with pytest.raises(ValueError, match="no text tower beside it.*--format folder"):
        Predictor.load(tmp_path / "final")


def test_a_folder_around_a_checkpoint_is_refused_with_its_path(clip: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "final", load_clip(clip)[0], tiny_config())
    copy_text_tower(clip, tmp_path / "text_tower")
    (tmp_path / "manifest.json").write_text('{"step": "train"}')
    with pytest.raises(
        ValueError, match=r"manifest\.json is not a checkpoint's manifest \(config: .*; give \S+/final$"
    ):
        Predictor.load(tmp_path, clip)
    with pytest.raises(ValueError, match="is not a folder"):
        Predictor.load(tmp_path / "elsewhere")


def test_a_model_folder_needs_nothing_else(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "final", load_clip(clip)[0], tiny_config())
    write_model_folder(tmp_path / "final", clip, tmp_path / "model")
    loaded = Predictor.load(tmp_path / "model", device="cpu")
    names = ["zebra", "tiger", "sand"]
    assert np.array_equal(
        loaded.predict(_picture(), names).label_map, predictor.predict(_picture(), names).label_map
    )


def test_the_text_half_of_a_clip_gives_the_same_vectors(clip: Path, tmp_path: Path) -> None:
    copy_text_tower(clip, tmp_path / "half")
    whole, tokenizer = load_clip(clip)
    text, half_tokenizer = load_text_tower(tmp_path / "half")
    names = ["zebra", "tiger"]
    assert torch.equal(
        class_vectors(whole.text, tokenizer, names, ("a photo of a {}",)),
        class_vectors(text, half_tokenizer, names, ("a photo of a {}",)),
    )
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < (
        clip / "model.safetensors"
    ).stat().st_size


def test_a_missing_text_tower_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        load_text_tower(tmp_path)


def test_a_picture_comes_as_path_bytes_array_or_pillow(predictor: Predictor, tmp_path: Path) -> None:
    picture, file = _picture(), tmp_path / "picture.png"
    Image.fromarray(picture).save(file)
    expected = predictor.predict(picture)
    assert expected.labels == SPLIT.classes
    assert expected.picture is picture
    content = file.read_bytes()
    for image in (file, str(file), content, memoryview(content), Image.fromarray(picture)):
        assert np.array_equal(predictor.predict(image).label_map, expected.label_map)
    with pytest.raises(UserError, match="the picture's bytes"):
        predictor.predict(b"no picture")


def test_many_pictures_keep_their_order_in_batches(predictor: Predictor) -> None:
    pictures = [_picture(40, width) for width in (56, 56, 56, 40, 56)]
    many = list(predictor.predict_all(iter(pictures), ["zebra", "sand"], batch=2))
    one_by_one = [predictor.predict(picture, ["zebra", "sand"]) for picture in pictures]
    assert all(np.array_equal(a.label_map, b.label_map) for a, b in zip(many, one_by_one, strict=True))
    with pytest.raises(UserError, match="batch=0"):
        next(predictor.predict_all(pictures, batch=0))


def test_a_training_free_model_needs_labels(clip: Path, tmp_path: Path) -> None:
    free = _predictor(clip, tmp_path, tiny_config(), setting="training_free")
    with pytest.raises(UserError, match="give labels"):
        free.predict(_picture())


def test_a_model_of_templates_predicts_alike_in_chunks(clip: Path, tmp_path: Path) -> None:
    config = tiny_config()
    model = config.model.model_copy(
        update={"fusion": "none", "groups": (), "decoder": "optimal_transport", "text": "templates"}
    )
    data = config.data.model_copy(update={"templates": ("a photo of a {}", "the {}")})
    predictor = _predictor(clip, tmp_path, config.model_copy(update={"model": model, "data": data}))
    labels = ("zebra", "grass", "sand", "picture", "tiger")
    vocabulary = predictor.vocabulary(labels)
    assert vocabulary.class_vectors.shape == (5, 2, 16)
    picture = torch.from_numpy(_picture()).permute(2, 0, 1)[None].float() / 255
    views = [ViewBatch((40, 56), 1, lambda rows, columns: picture[..., rows, columns])]
    whole, parts = (
        best_classes(vocabulary, views, size=(40, 56), evaluate=predictor.evaluate, limits=limits)
        for limits in (None, Limits(logits=1))
    )
    assert torch.equal(whole[0], parts[0])
    torch.testing.assert_close(whole[1], parts[1])
    assert predictor.predict(_picture(), labels).label_map.shape == (40, 56)
