"""The tokenizer of a CLIP that lists its words."""

import pytest

from cascade_core.clip.word_tokenizer import WordTokenizer


def test_case_and_punctuation_do_not_matter_but_words_do():
    tokenizer = WordTokenizer(["a", "zebra"], 5)
    assert tokenizer(["A Zebra."]).tolist() == [[1, 2, 3, 4, 0]]
    with pytest.raises(ValueError, match="unicorn.*known are a, zebra"):
        tokenizer(["a unicorn"])
    with pytest.raises(ValueError, match="needs 6 tokens"):
        tokenizer(["a zebra a zebra"])


def test_a_repeated_word_is_refused():
    with pytest.raises(ValueError, match="repeats a"):
        WordTokenizer(["a", "b", "a"], 5)
