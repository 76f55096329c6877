"""The progress of class names that become text vectors, and their cache."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade_core.clip.files import WEIGHTS_FILE
from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import load_text_tower
from cascade_core.predictor import Predictor
from components.vectors.encoding import encoded
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

NAMES = ["zebra", "tiger", "sand"]
TEMPLATES = tuple(f"{'a ' * (i % 3)}{{}}" for i in range(64))
TOTAL = len(NAMES) * len(TEMPLATES)


@pytest.fixture
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """A model with as many templates as a training-free one."""
    monkeypatch.setenv("CASCADE_CACHE", str(tmp_path / "cache"))
    config = tiny_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"templates": TEMPLATES})})
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), config)
    return _loaded(tmp_path)


def _loaded(folder: Path) -> Predictor:
    return Predictor.load(folder / "final", folder / "clip", device="cpu")


def test_progress_grows_with_every_batch_of_texts(predictor: Predictor, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    vocabulary = predictor.vocabulary(NAMES, on_texts=lambda done, total: calls.append((done, total)))
    assert calls == [(done, TOTAL) for done in (0, 64, 128, TOTAL)]
    text, tokenizer = load_text_tower(tmp_path / "clip")
    torch.testing.assert_close(vocabulary.class_vectors, class_vectors(text, tokenizer, NAMES, TEMPLATES))


def test_names_show_their_progress_once(predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    first = encoded(predictor, NAMES)
    assert capsys.readouterr().err == f"text vectors: step {TOTAL}/{TOTAL} | done in 0 s\n"
    assert encoded(predictor, NAMES) is first
    assert capsys.readouterr().err == ""


def test_another_process_takes_the_vectors_from_the_cache(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = encoded(predictor, NAMES).class_vectors
    capsys.readouterr()
    assert torch.equal(encoded(_loaded(tmp_path), NAMES).class_vectors, first)
    assert capsys.readouterr().err == ""
    encoded(_loaded(tmp_path), NAMES[::-1])
    assert "text vectors" in capsys.readouterr().err


def test_another_text_tower_has_other_vectors_in_the_cache(predictor: Predictor, tmp_path: Path) -> None:
    before = encoded(predictor, NAMES).class_vectors
    weights = load_file(tmp_path / "clip" / WEIGHTS_FILE)
    changed = {**weights, "text.text_projection": -weights["text.text_projection"]}
    save_file(changed, tmp_path / "clip" / WEIGHTS_FILE)
    torch.testing.assert_close(encoded(_loaded(tmp_path), NAMES).class_vectors, -before)


def test_without_a_bar_the_log_says_what_is_encoded(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    predictor.vocabulary(NAMES)
    assert caplog.messages == [f"encoding the class names: {TOTAL} texts"]
