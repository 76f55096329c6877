"""Text vectors of class names: `python -m benchmarks.text_vectors`.

The text tower of CLIP ViT-B/16 with random weights encodes 300 texts, 20 class names of COCO-Stuff in 15 templates, on
a CPU in float32. The baseline encodes all 77 positions of each text, 256 texts at a time.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from benchmarks.compare import surroundings
from cascade_core.clip.text import TextTransformer, class_vectors
from cascade_core.clip.tokenizers import BytePairTokenizer, Tokenizer
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe

NAMES, ROUNDS = 20, 3


@torch.no_grad()
def whole(
    text: TextTransformer, tokenizer: Tokenizer, names: list[str], templates: tuple[str, ...]
) -> Float[Tensor, "classes embed"]:
    """Encode every position of every text."""
    tokens = tokenizer([template.replace("{}", name) for name in names for template in templates])
    vectors = torch.cat([text.encode_text(batch) for batch in tokens.split(256)])
    means = F.normalize(vectors, dim=-1).unflatten(0, (len(names), len(templates))).mean(dim=1)
    return F.normalize(means, dim=-1)


def line(config: RunConfig) -> str:
    """Compare both in turns: medians of `ROUNDS` runs."""
    torch.manual_seed(0)
    clip, templates = config.model.clip, config.data.templates
    text, tokenizer = TextTransformer(clip).eval(), BytePairTokenizer(clip.context_length)
    names = list(config.data.split.classes[:NAMES])
    seconds: dict[str, list[float]] = {"cut": [], "whole": []}
    vectors = {}
    for round_ in range(ROUNDS + 1):
        for key, call in (("cut", class_vectors), ("whole", whole)):
            began = time.perf_counter()
            vectors[key] = call(text, tokenizer, names, templates)
            if round_:
                seconds[key].append(time.perf_counter() - began)
    cut, all_positions = (statistics.median(seconds[key]) for key in ("cut", "whole"))
    difference = float((vectors["cut"] - vectors["whole"]).abs().max())
    return (
        f"{NAMES * len(templates)} texts: cut {cut:.2f} s / whole {all_positions:.2f} s = {cut / all_positions:.3f}; "
        f"the unit vectors differ by {difference:.1e} at most"
    )


if __name__ == "__main__":
    print(surroundings())
    print(line(recipe("cascade_cocostuff", {}, seed=0)))
