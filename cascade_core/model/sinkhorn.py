"""Optimal transport between the patches of a picture and the texts of a class (Cuturi 2013; OTSeg, Kim et al. 2024).

Every patch and every text has the same share of the mass, and a move costs 1 minus the cosine. The plan is the one of
least cost less `EPSILON` times its entropy.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cascade_core.runtime.autocast import in_float32

EPSILON = 0.05
ITERATIONS = 50
"""For random directions of width 64 or more, as of CLIP's vectors, shares of patches are then equal to within 1e-6 of a share;
`docs/methods.md` has the bounds of narrower ones, up to 3e-2 at width 4. The released code stops where a whole batch changes
little, so that a picture's plan depends on the others."""


def sinkhorn(
    scores: Float[Tensor, "batch classes templates patches"],
    *,
    epsilon: float = EPSILON,
    iterations: int = ITERATIONS,
) -> Float[Tensor, "batch classes templates patches"]:
    """Return the transport plan of each picture and class from cosines; it is in at least single precision and sums to 1.

    A text's share is 1 / templates to rounding; a patch's share nears 1 / patches with the iterations. Gradients flow through
    all of them.

    The published iterations add logarithms. These multiply, which is the same and takes a thirtieth of the time: no patch
    underflows, because each is measured from its best text, and that changes its own factor only. The released code adds 1e-8 to
    the shares in its logarithms, against shares of zero. There are none, so it is left out: it scales the plan by
    1 + templates * 1e-8, with eight templates less than single precision resolves.
    """
    with in_float32(scores.device):
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        templates, patches = scores.shape[-2:]
        kernel = ((scores - scores.amax(dim=-2, keepdim=True)) / epsilon).exp()
        of_texts = torch.ones_like(kernel[..., :1])
        of_patches = torch.ones_like(kernel[..., :1, :])
        for _ in range(iterations):
            of_patches = 1 / (patches * (of_texts.mT @ kernel))
            of_texts = 1 / (templates * (kernel @ of_patches.mT))
        return of_texts * kernel * of_patches
