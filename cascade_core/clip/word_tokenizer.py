"""The tokenizer of a CLIP whose folder lists its words, such as the mini benchmark's: a word, a token."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.runtime.listing import duplicates

START = 1
NUM_MARKS = 3
"""Tokens that are no words: padding (0), start (1) and end (the highest)."""


class WordTokenizer:
    """Turn captions into token ids, a word a token.

    Ids: 0 pads, 1 starts, then the words in the order given; the end of the text
    has the highest id, so that the text tower finds it by argmax as CLIP does.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        if twice := duplicates(words):
            raise UserError(f"the vocabulary repeats {', '.join(twice)}; give every word once")
        if context_length < 3:
            raise UserError(f"context_length is {context_length}; a word between start and end needs 3")
        self.words = tuple(words)
        self.context_length = context_length
        self.vocab_size = len(self.words) + NUM_MARKS
        self.end = self.vocab_size - 1
        self._ids = {word: index for index, word in enumerate(self.words, start=2)}

    def __call__(self, texts: Sequence[str]) -> Int[Tensor, "texts context"]:
        """Return one row of ids per text, case and punctuation ignored; ValueError for unknown words."""
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids = [START, *self._word_ids(text), self.end]
            if len(ids) > self.context_length:
                raise UserError(
                    f"{text!r} needs {len(ids)} tokens, start and end included; "
                    f"the context holds {self.context_length}: shorten the text"
                )
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def _word_ids(self, text: str) -> list[int]:
        words = re.findall(r"\w+", text.lower())
        unknown = [word for word in words if word not in self._ids]
        if unknown:
            raise UserError(
                f"{text!r} holds words outside the vocabulary: {', '.join(unknown)}; "
                f"known are {', '.join(self.words)}"
            )
        return [self._ids[word] for word in words]
