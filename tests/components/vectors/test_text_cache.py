"""The cache of class vectors: computed once for one CLIP, names and templates, and never mixed up."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade_core.clip.files import WEIGHTS_FILE
from cascade_core.clip.text import class_vectors
from cascade_core.clip.weights import load_clip
from components.vectors import text_cache
from components.vectors.text_cache import cached_class_vectors
from tests.tiny import write_tiny_clip

NAMES, TEMPLATES = ("zebra", "grass"), ("a photo of a {}", "a picture of the {}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CASCADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "text-vectors"


@pytest.fixture
def clip(tmp_path: Path, cache: Path) -> Path:
    write_tiny_clip(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """List the names of each computation of vectors."""
    calls: list[tuple[str, ...]] = []

    def counted(*arguments: object, **options: object) -> torch.Tensor:
        calls.append(tuple(arguments[2]))  # type: ignore[arg-type]
        return class_vectors(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(text_cache, "class_vectors", counted)
    return calls


def test_vectors_are_computed_once_and_come_back_to_the_bit(
    clip: Path, computed: list[tuple[str, ...]]
) -> None:
    first, again = (cached_class_vectors(clip, NAMES, TEMPLATES) for _ in range(2))
    model, tokenizer = load_clip(clip)
    assert torch.equal(first, again)
    assert torch.equal(first, class_vectors(model.text, tokenizer, NAMES, TEMPLATES))
    assert computed == [NAMES]


def test_other_names_or_templates_are_other_vectors(clip: Path, computed: list[tuple[str, ...]]) -> None:
    cached_class_vectors(clip, NAMES, TEMPLATES)
    cached_class_vectors(clip, NAMES[::-1], TEMPLATES)
    cached_class_vectors(clip, NAMES, TEMPLATES[:1])
    assert len(computed) == 3


def test_other_weights_in_the_same_place_are_other_vectors(clip: Path) -> None:
    before = cached_class_vectors(clip, NAMES, TEMPLATES)
    weights = load_file(clip / WEIGHTS_FILE)
    save_file({**weights, "text.text_projection": -weights["text.text_projection"]}, clip / WEIGHTS_FILE)
    torch.testing.assert_close(cached_class_vectors(clip, NAMES, TEMPLATES), -before)


def _file(cache: Path) -> Path:
    (file,) = cache.iterdir()
    return file


@pytest.mark.parametrize("damage", ["cut", "flipped", "of something else", "empty"])
def test_a_damaged_file_is_replaced_with_a_warning(
    damage: str,
    clip: Path,
    cache: Path,
    computed: list[tuple[str, ...]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    right = cached_class_vectors(clip, NAMES, TEMPLATES)
    file = _file(cache)
    whole = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(whole[:-7])
        case "flipped":
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        case "of something else":
            save_file({"class_vectors": right}, file, {"made_from": "{}"})
        case "empty":
            file.write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert torch.equal(cached_class_vectors(clip, NAMES, TEMPLATES), right)
    assert str(file) in caplog.text
    cached_class_vectors(clip, NAMES, TEMPLATES)
    assert len(computed) == 2


def test_concurrent_writers_leave_one_whole_file(clip: Path, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda _: cached_class_vectors(clip, NAMES, TEMPLATES), range(24)))
    assert all(torch.equal(row, rows[0]) for row in rows)
    assert torch.equal(load_file(_file(cache))["class_vectors"], rows[0])


def test_a_cache_that_cannot_be_written_costs_only_a_warning(
    clip: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.write_text("a file where the cache should be")
    with caplog.at_level(logging.WARNING):
        assert cached_class_vectors(clip, NAMES, TEMPLATES).shape == (2, 16)
    assert "text vectors are not cached" in caplog.text
