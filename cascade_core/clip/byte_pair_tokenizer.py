"""CLIP's byte-pair tokenizer, which any text passes, and which refuses what would silently lose its end."""

import torch
from jaxtyping import Int
from torch import Tensor

from cascade_core.errors import UserError


class BytePairTokenizer:
    """open_clip's `SimpleTokenizer`, strict: that one cuts a long text, so that long names get each other's vectors.

    Letters of any script, commas and signs are taken as bytes; what CLIP makes of words it was not trained on
    is another matter.
    """

    def __init__(self, context_length: int) -> None:
        from open_clip import SimpleTokenizer  # slow to import, needed by real CLIPs only

        self.context_length = context_length
        self._tokenizer = SimpleTokenizer(context_length=context_length)

    def __call__(self, texts: list[str]) -> Int[Tensor, "texts context"]:
        """Return a row of ids per text: start, its word pieces, end (the highest id), then zeros.

        Raises:
            UserError: a text needs more ids than the context holds, or holds a start or end mark itself.
        """
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in enumerate(texts):
            ids = self._ids(text)
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def _ids(self, text: str) -> list[int]:
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        pieces = self._tokenizer.encode(text)
        if start in pieces or end in pieces:
            raise UserError(f"{text!r} holds a mark by which CLIP tells where a text starts or ends")
        if len(pieces) + 2 > self.context_length:
            raise UserError(
                f"{text!r} needs {len(pieces) + 2} tokens, start and end included; "
                f"the context holds {self.context_length}: shorten the text"
            )
        return [start, *pieces, end]
