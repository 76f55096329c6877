"""Text vectors of class names: `python -m benchmarks.text_vectors`.

The text tower of CLIP ViT-B/16 with random weights encodes 300 texts, 20 class names of COCO-Stuff in 15 templates, on
a CPU in float32. The baseline encodes all 77 positions of each text, 256 texts at a time.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.machine import load, surroundings
from benchmarks.options import parsed, parser_of
from benchmarks.stopwatch import in_turns
from cascade_core.clip.text import TextTransformer, class_vectors
from cascade_core.clip.tokenizers import BytePairTokenizer, Tokenizer
from cascade_core.configs.recipes import recipe

NAMES = 20


@torch.no_grad()
def whole(
    text: TextTransformer, tokenizer: Tokenizer, names: list[str], templates: tuple[str, ...]
) -> Float[Tensor, "classes embed"]:
    """Encode every position of every text."""
    tokens = tokenizer([template.replace("{}", name) for name in names for template in templates])
    vectors = torch.cat([text.encode_text(batch) for batch in tokens.split(256)])
    means = F.normalize(vectors, dim=-1).unflatten(0, (len(names), len(templates))).mean(dim=1)
    return F.normalize(means, dim=-1)


@dataclass(frozen=True)
class Vectors:
    """Medians in seconds of both ways, and the largest difference of their unit vectors."""

    texts: int
    cut: float
    whole: float
    difference: float

    def ratio(self) -> str:
        return f"{self.cut / self.whole:.3f} ({self.cut:.2f} s / {self.whole:.2f} s)"


def measure(*, rounds: int) -> Vectors:
    """Compare both in turns."""
    config = recipe("cascade_cocostuff", {}, seed=0)
    torch.manual_seed(0)
    clip, templates = config.model.clip, config.data.templates
    text, tokenizer = TextTransformer(clip).eval(), BytePairTokenizer(clip.context_length)
    names = list(config.data.split.classes[:NAMES])
    cut, every_position = in_turns(
        [partial(way, text, tokenizer, names, templates) for way in (class_vectors, whole)], rounds
    )
    vectors = [way(text, tokenizer, names, templates) for way in (class_vectors, whole)]
    return Vectors(NAMES * len(templates), cut, every_position, float((vectors[0] - vectors[1]).abs().max()))


def main() -> None:
    options = parsed(parser_of(__doc__))
    print(surroundings())
    vectors = measure(rounds=options.rounds)
    print(
        f"{vectors.texts} texts: cut / whole {vectors.ratio()}; the unit vectors differ by "
        f"{vectors.difference:.1e} at most; {load()}"
    )


if __name__ == "__main__":
    main()
