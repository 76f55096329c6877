"""CLIP's tokenizers: byte pairs for real CLIPs, one token per word for a CLIP that lists its words."""

import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from cascade_core.errors import UserError
from cascade_core.runtime.listing import duplicates

START = 1
NUM_MARKS = 3
"""Number of tokens that are not words: padding (0), start (1) and end (the highest id)."""


@runtime_checkable
class Tokenizer(Protocol):
    """Turns each text into a row of ids: start, the text, end (the highest id), then zeros."""

    def __call__(self, texts: list[str]) -> Int[Tensor, "texts context"]: ...


class BytePairTokenizer:
    """open_clip's `SimpleTokenizer`, but strict: a text that does not fit is refused, not cut.

    Cut texts would give different long names the same vector. Any script, comma or sign is accepted as bytes.
    """

    def __init__(self, context_length: int) -> None:
        from open_clip import SimpleTokenizer  # slow to import, and only real CLIPs need it

        self.context_length = context_length
        self._tokenizer = SimpleTokenizer(context_length=context_length)

    def __call__(self, texts: list[str]) -> Int[Tensor, "texts context"]:
        """Return one row of ids per text; UserError for a text that is too long or contains a start or end mark."""
        return _padded(texts, [self._ids(text) for text in texts], self.context_length)

    def _ids(self, text: str) -> list[int]:
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        pieces = self._tokenizer.encode(text)
        if start in pieces or end in pieces:
            raise UserError(
                f"{text!r} holds a mark that CLIP reserves for the start or end of a text; remove it"
            )
        return [start, *pieces, end]


class WordTokenizer:
    """One token per word, for a CLIP whose folder lists its words, such as the mini benchmark's.

    Ids: 0 pads, 1 starts, then the words in the given order; the end has the highest id, so that the text
    tower locates it by argmax as in CLIP.
    """

    def __init__(self, words: Sequence[str], context_length: int) -> None:
        if repeated := duplicates(words):
            raise UserError(f"the vocabulary repeats {', '.join(repeated)}; give every word once")
        if context_length < 3:
            raise UserError(f"context_length is {context_length}; a word between start and end needs 3")
        self.words = tuple(words)
        self.context_length = context_length
        self.vocab_size = len(self.words) + NUM_MARKS
        self.end = self.vocab_size - 1
        self._ids = {word: index for index, word in enumerate(self.words, start=2)}

    def __call__(self, texts: list[str]) -> Int[Tensor, "texts context"]:
        """Return one row of ids per text, without case and punctuation; UserError for long texts and unknown words."""
        rows = [[START, *self._word_ids(text), self.end] for text in texts]
        return _padded(texts, rows, self.context_length)

    def _word_ids(self, text: str) -> list[int]:
        words = re.findall(r"\w+", text.lower())
        if unknown := [word for word in words if word not in self._ids]:
            raise UserError(
                f"{text!r} holds words outside the vocabulary: {', '.join(unknown)}; "
                f"known are {', '.join(self.words)}"
            )
        return [self._ids[word] for word in words]


def _padded(texts: Sequence[str], rows: list[list[int]], length: int) -> Int[Tensor, "texts context"]:
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    for index, (text, ids) in enumerate(zip(texts, rows, strict=True)):
        if len(ids) > length:
            raise UserError(
                f"{text!r} needs {len(ids)} tokens, start and end included; "
                f"the context holds {length}: shorten the text"
            )
        tokens[index, : len(ids)] = torch.tensor(ids)
    return tokens
