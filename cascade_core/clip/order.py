"""Checks that class vectors belong to the names they are used with.

Two label sets of Pascal Context have the same 59 classes in two orders. If vectors in one order are used with names
in the other, their number, width and length fit and training raises no error, but the scores are near zero.
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
"""Largest deviation from unit length; vectors stored in float16 deviate a little."""
MARGIN = 0.02
"""A vector is misplaced if another name's cosine exceeds its own name's by more than this; near-synonyms differ by less.

For each of COCO-Stuff's 171 names, CLIP ViT-B/16's vector made with one template is nearest to the vector of the same
name made with fifteen templates, at a cosine of 0.957 to 0.98.
"""
MOST_LISTED = 3


@dataclass(frozen=True)
class Order:
    """How well vectors fit their names: least cosine with the own name, and least lead over any other name."""

    least_cosine: float
    least_lead: float


def check_shape(vectors: Float[Tensor, "*axes"], names: Sequence[str], where: str) -> None:
    """Check that there is one finite unit vector per name, or one per name and template, and that the names' differ.

    Raises:
        UserError: number, values or lengths are wrong, or classes share a vector.
    """
    if vectors.ndim not in (2, 3) or len(vectors) != len(names) or 0 in vectors.shape:
        raise UserError(
            f"{where}: shape {tuple(vectors.shape)}, expected a row for each of the {len(names)} classes"
        )
    fits = (vectors.norm(dim=-1) - 1).abs() < LENGTH_TOLERANCE  # False for NaN
    fits = fits.flatten(1).all(dim=1) if fits.ndim == 2 else fits
    if wrong := [name for name, fit in zip(names, fits.tolist(), strict=True) if not fit]:
        raise UserError(
            f"{where}: vectors of {short_list(wrong, most=MOST_LISTED)} are not finite and of unit length; "
            "make them anew with text-vectors"
        )
    _, group, sizes = torch.unique(vectors, dim=0, return_inverse=True, return_counts=True)
    if twins := [name for name, size in zip(names, sizes[group].tolist(), strict=True) if size > 1]:
        raise UserError(
            f"{where}: {short_list(twins, most=MOST_LISTED)} share a vector, so that CLIP cannot distinguish them; "
            "give them names that differ to CLIP"
        )


def check_order(
    vectors: Float[Tensor, "classes *templates embed"],
    reference: Float[Tensor, "referenced *others width"],
    names: Sequence[str],
    where: str,
) -> Order:
    """Check that each vector is nearer to its own name's `reference` than to any other name's.

    Where there is a vector for each template, their means are compared.

    Raises:
        UserError: widths differ, or vectors belong to other names; the message names the label set that has the
            vectors' order, if there is one.
    """
    vectors, reference = (rows.mean(dim=1) if rows.ndim == 3 else rows for rows in (vectors, reference))
    if vectors.shape != reference.shape:
        raise UserError(
            f"{where}: shape {tuple(vectors.shape)}, the reference has {tuple(reference.shape)}; "
            "the vectors come from another CLIP or belong to other classes"
        )
    cosines = functional.normalize(vectors.float(), dim=1) @ functional.normalize(reference.float(), dim=1).T
    own = cosines.diagonal()
    best, nearest = cosines.clone().fill_diagonal_(-1.0).max(dim=1)
    misplaced = [
        f"row {i} ({names[i]}) is nearest to {names[int(nearest[i])]!r}, {best[i]:.2f} against {own[i]:.2f}"
        for i in range(len(names))
        if best[i] > own[i] + MARGIN
    ]
    if misplaced:
        order = tuple(names[i] for i in cosines.argmax(dim=1).tolist())
        fitting = " or ".join(labels.name for labels in label_sets() if labels.classes == order)
        order_name = f"label set {fitting}" if fitting else "no known label set"
        raise UserError(
            f"{where}: {len(misplaced)} of {len(names)} vectors belong to other names: "
            f"{short_list(misplaced, most=MOST_LISTED)}; they are in the order of "
            f"{order_name}; make them anew with text-vectors --clip, or choose the protocol in whose order they are"
        )
    return Order(least_cosine=float(own.min()), least_lead=float((own - best).min()))
