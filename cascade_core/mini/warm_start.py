"""Start a world's CLIP from that of another world: equal shapes, and the words that both know, keep their weights."""

import torch

from cascade_core.clip.tokenizers import START, Tokenizer, WordTokenizer
from cascade_core.clip.vision import resize_position_grid
from cascade_core.clip.weights import ClipModel
from cascade_core.errors import UserError
from cascade_core.mini.world import World


@torch.no_grad()
def start_from(clip: ClipModel, world: World, earlier: ClipModel, tokenizer: Tokenizer) -> None:
    """Copy the weights of `earlier`, whose tokenizer is `tokenizer`, into the new `clip` of a world, in place.

    The grid of positions is resized; words and text positions that `earlier` lacks keep their random weights.

    Raises:
        UserError: `earlier` has no list of words, or other widths or layers.
    """
    sides = ("width", "layers", "heads", "embed_dim", "patch_size", "text_width", "text_layers", "text_heads")
    if unlike := [side for side in sides if getattr(clip.config, side) != getattr(earlier.config, side)]:
        raise UserError(
            f"the CLIP to start from has {unlike[0]}={getattr(earlier.config, unlike[0])}, that of world {world.name!r} "
            f"{getattr(clip.config, unlike[0])}; give one that `cascade-clip pretrain` made"
        )
    if not isinstance(tokenizer, WordTokenizer):
        raise UserError(
            "the CLIP to start from splits words into byte pairs; give one of `cascade-clip pretrain`"
        )
    known = {word: index for index, word in enumerate(tokenizer.words, start=START + 1)}
    rows = [(new, known[word]) for new, word in enumerate(world.words, start=START + 1) if word in known]
    marks = [(0, 0), (START, START), (world.tokenizer.end, tokenizer.end)]
    target, source = clip.state_dict(), earlier.state_dict()
    for name, weight in target.items():
        match name:
            case "text.token_embedding.weight":
                new, old = zip(*rows, *marks, strict=True)
                weight[list(new)] = source[name][list(old)]
            case "text.positional_embedding":
                shared = min(len(weight), len(source[name]))
                weight[:shared] = source[name][:shared]
            case "visual.positional_embedding":
                side = world.clip.image_size // world.clip.patch_size
                weight.copy_(resize_position_grid(source[name], side, side))
            case _:
                weight.copy_(source[name])
