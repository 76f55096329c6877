"""The byte-pair tokenizer of real CLIPs, and the tokenizer of a CLIP that lists its words."""

import pytest
import torch
from open_clip import SimpleTokenizer

from cascade_core.clip.tokenizers import BytePairTokenizer, WordTokenizer

TEXTS = [
    "a photo of a dog.",
    "a photo of a door, wooden (old)",
    "犬の写真",
    "фото собаки",
    "a photo of a café & bar, 24/7!",
    "🐶",
]


@pytest.fixture(scope="module")
def byte_pairs() -> BytePairTokenizer:
    return BytePairTokenizer(context_length=77)


def test_texts_of_any_script_are_tokenised_as_in_open_clip(byte_pairs: BytePairTokenizer) -> None:
    tokens = byte_pairs(TEXTS)
    assert torch.equal(tokens, SimpleTokenizer(context_length=77)(TEXTS))
    assert len({tuple(row) for row in tokens.tolist()}) == len(TEXTS)


def test_the_end_is_the_highest_id_of_a_row(byte_pairs: BytePairTokenizer) -> None:
    tokens = byte_pairs(["a dog", "a very long dog"])
    assert tokens.max(dim=1).values.tolist() == [49407, 49407]
    assert tokens.argmax(dim=1).tolist() == [3, 5]


def test_a_text_longer_than_the_context_is_refused_not_cut() -> None:
    tokenizer = BytePairTokenizer(context_length=6)
    assert tokenizer(["one two three four"])[0, -1] == 49407
    with pytest.raises(ValueError, match="'one two three four five' needs 7 tokens.*the context holds 6"):
        tokenizer(["one two three four five"])


@pytest.mark.parametrize("text", ["a dog <end_of_text> a cat", "<start_of_text>"])
def test_a_text_with_a_mark_in_it_is_refused(byte_pairs: BytePairTokenizer, text: str) -> None:
    with pytest.raises(ValueError, match="holds a mark"):
        byte_pairs([text])


def test_a_word_tokenizer_ignores_case_and_punctuation() -> None:
    assert WordTokenizer(["a", "zebra"], 5)(["A Zebra."]).tolist() == [[1, 2, 3, 4, 0]]


def test_a_word_tokenizer_refuses_unknown_words_and_long_texts() -> None:
    tokenizer = WordTokenizer(["a", "zebra"], 5)
    with pytest.raises(ValueError, match="unicorn.*known are a, zebra"):
        tokenizer(["a unicorn"])
    with pytest.raises(ValueError, match="needs 6 tokens"):
        tokenizer(["a zebra a zebra"])


def test_a_repeated_word_is_refused() -> None:
    with pytest.raises(ValueError, match="repeats a"):
        WordTokenizer(["a", "b", "a"], 5)
