"""Whether class vectors belong to the names they are used for: the one mistake that no count and no range shows.

Two label sets of Pascal Context have the same 59 classes in two orders. Vectors of one used with names of the
other have the right number, width and length, train without complaint, and score near zero where the orders
differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from cascade_core.datasets.catalogue import label_sets
from cascade_core.errors import UserError
from cascade_core.runtime.listing import short_list

LENGTH_TOLERANCE = 1e-2
"""How far from unit length a vector may be: float16 files are, a little."""
MARGIN = 0.02
"""A vector counts as misplaced if its cosine with another name is higher by more: near-synonyms differ by less.

Of CLIP ViT-B/16's vectors of COCO-Stuff's 171 names, made with one template and with fifteen, each is nearest to
its own name across the two, at 0.957 to 0.98.
"""
SHOWN = 3


@dataclass(frozen=True)
class Order:
    """How well vectors fit their names: the least cosine with the own name, and the least lead over any other."""

    least_cosine: float
    least_lead: float


def check_shape(vectors: Float[Tensor, "*axes"], names: Sequence[str], where: str) -> None:
    """See that there is one finite unit vector a name, and that no two are the same.

    Raises:
        UserError: number, values or lengths are wrong, or classes share a vector.
    """
    if vectors.ndim != 2 or len(vectors) != len(names):
        raise UserError(
            f"{where}: shape {tuple(vectors.shape)}, expected a row for each of the {len(names)} classes"
        )
    lengths = vectors.norm(dim=1)
    wrong = [
        name
        for name, length in zip(names, lengths.tolist(), strict=True)
        if not abs(length - 1) < LENGTH_TOLERANCE
    ]
    if wrong:
        raise UserError(
            f"{where}: vectors of {short_list(wrong, most=SHOWN)} are not finite and of unit length; make them anew with text-vectors"
        )
    _, group = torch.unique(vectors, dim=0, return_inverse=True)
    twins = [
        name for name, count in zip(names, torch.bincount(group)[group].tolist(), strict=True) if count > 1
    ]
    if twins:
        raise UserError(
            f"{where}: {short_list(twins, most=SHOWN)} share a vector and cannot be told apart; give them names that differ to CLIP"
        )


def check_order(
    vectors: Float[Tensor, "classes embed"],
    reference: Float[Tensor, "referenced width"],
    names: Sequence[str],
    where: str,
) -> Order:
    """See that each vector is nearer to its own name's `reference` than to any other's.

    Raises:
        UserError: widths differ, or vectors belong to other names; if they are in the order of a known label
            set, it is named.
    """
    if vectors.shape != reference.shape:
        raise UserError(
            f"{where}: shape {tuple(vectors.shape)}, those to compare with have {tuple(reference.shape)}; "
            "they are of another CLIP or of other classes"
        )
    cosines = functional.normalize(vectors.float(), dim=1) @ functional.normalize(reference.float(), dim=1).T
    own = cosines.diagonal()
    others = cosines.clone().fill_diagonal_(-1.0)
    best, nearest = others.max(dim=1)
    wrong = [i for i in range(len(names)) if best[i] > own[i] + MARGIN]
    if wrong:
        shown = [
            f"row {i} ({names[i]}) is nearest to {names[int(nearest[i])]!r}, {best[i]:.2f} against {own[i]:.2f}"
            for i in wrong
        ]
        raise UserError(
            f"{where}: {len(wrong)} of {len(names)} vectors belong to other names: "
            f"{short_list(shown, most=SHOWN)}. {_known_order(cosines, names)}; make them anew with "
            "text-vectors --clip, or choose the protocol in whose order they are"
        )
    return Order(least_cosine=float(own.min()), least_lead=float((own - best).min()))


def _known_order(cosines: Float[Tensor, "classes classes"], names: Sequence[str]) -> str:
    """Name the label set in whose order the vectors are, if it is a known one."""
    found = tuple(names[i] for i in cosines.argmax(dim=1).tolist())
    fitting = [labels.name for labels in label_sets() if labels.classes == found]
    return (
        f"They are in the order of label set {' or '.join(fitting)}"
        if fitting
        else "Their order is of no known label set"
    )
