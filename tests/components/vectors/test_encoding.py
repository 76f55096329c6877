"""The progress of class names that become text vectors."""

from pathlib import Path

import pytest
import torch

from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import load_text_tower
from cascade_core.predictor import MANY_TEMPLATES, Predictor
from components.vectors.encoding import encoded
from tests.tiny import tiny_config, write_tiny_checkpoint, write_tiny_clip

NAMES = ["zebra", "tiger", "sand"]
TEMPLATES = tuple(f"{'a ' * (i % 3)}{{}}" for i in range(MANY_TEMPLATES))


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    """A model with as many templates as a training-free one."""
    config = tiny_config()
    config = config.model_copy(update={"data": config.data.model_copy(update={"templates": TEMPLATES})})
    write_tiny_checkpoint(tmp_path / "final", write_tiny_clip(tmp_path / "clip"), config)
    return Predictor.load(tmp_path / "final", tmp_path / "clip", device="cpu")


def test_progress_grows_with_every_name_of_many_templates(predictor: Predictor, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    vocabulary = predictor.vocabulary(NAMES, on_texts=lambda done, total: calls.append((done, total)))
    assert calls == [(names * MANY_TEMPLATES, 3 * MANY_TEMPLATES) for names in range(4)]
    text, tokenizer = load_text_tower(tmp_path / "clip")
    torch.testing.assert_close(vocabulary.class_vectors, class_vectors(text, tokenizer, NAMES, TEMPLATES))


def test_names_show_their_progress_once(predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    first = encoded(predictor, NAMES)
    total = 3 * MANY_TEMPLATES
    assert capsys.readouterr().err == f"text vectors: step {total}/{total} | done in 0 s\n"
    assert encoded(predictor, NAMES) is first
    assert capsys.readouterr().err == ""


def test_without_a_bar_the_log_says_what_is_encoded(
    predictor: Predictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    predictor.vocabulary(NAMES)
    assert caplog.messages == [f"encoding the class names: {3 * MANY_TEMPLATES} texts"]
