"""The byte-pair tokenizer of real CLIPs."""

import pytest
import torch
from open_clip import SimpleTokenizer

from cascade_core.clip.byte_pair_tokenizer import BytePairTokenizer

TEXTS = [
    "a photo of a dog.",
    "a photo of a door, wooden (old)",
    "犬の写真",
    "фото собаки",
    "a photo of a café & bar, 24/7!",
    "🐶",
]


@pytest.fixture(scope="module")
def tokenizer() -> BytePairTokenizer:
    return BytePairTokenizer(context_length=77)


def test_texts_with_commas_and_of_any_script_are_read_as_open_clip_reads_them(
    tokenizer: BytePairTokenizer,
) -> None:
    tokens = tokenizer(TEXTS)
    assert torch.equal(tokens, SimpleTokenizer(context_length=77)(TEXTS))
    assert len({tuple(row) for row in tokens.tolist()}) == len(TEXTS)


def test_the_end_is_the_highest_id_of_a_row(tokenizer: BytePairTokenizer) -> None:
    tokens = tokenizer(["a dog", "a very long dog"])
    assert tokens.max(dim=1).values.tolist() == [49407, 49407]
    assert tokens.argmax(dim=1).tolist() == [3, 5]


def test_a_text_that_just_fits_is_taken_and_a_longer_one_refused_not_cut() -> None:
    tokenizer = BytePairTokenizer(context_length=6)
    assert tokenizer(["one two three four"])[0, -1] == 49407
    with pytest.raises(ValueError, match="'one two three four five' needs 7 tokens.*the context holds 6"):
        tokenizer(["one two three four five"])


@pytest.mark.parametrize("text", ["a dog <end_of_text> a cat", "<start_of_text>"])
def test_a_text_with_a_mark_in_it_is_refused(tokenizer: BytePairTokenizer, text: str) -> None:
    with pytest.raises(ValueError, match="holds a mark"):
        tokenizer([text])
