"""Class vectors in the order of other names are refused."""

from zlib import crc32

import pytest
import torch
from torch.nn import functional

from cascade_core.clip.order import check_order, check_shape
from cascade_core.datasets.context import CLASSES as CONTEXT_59
from cascade_core.datasets.context import LITERATURE_CLASSES

NAMES = ("cat", "dog", "cow", "sheep")


def vectors_of(names: tuple[str, ...], *, noise: float = 0.0) -> torch.Tensor:
    """Return a vector per name that depends on the name alone, plus noise that depends on its row."""
    rows = [torch.randn(32, generator=torch.Generator().manual_seed(crc32(name.encode()))) for name in names]
    jitter = torch.randn(len(names), 32, generator=torch.Generator().manual_seed(0))
    return functional.normalize(functional.normalize(torch.stack(rows), dim=1) + noise * jitter, dim=1)


def test_slightly_different_vectors_of_the_same_names_agree() -> None:
    order = check_order(vectors_of(NAMES, noise=0.05), vectors_of(NAMES), NAMES, "a")
    assert 0.8 < order.least_cosine < 1 and order.least_lead > 0.2


def test_vectors_in_the_released_order_do_not_fit_the_literature() -> None:
    released, literature = (vectors_of(names) for names in (CONTEXT_59, LITERATURE_CLASSES))
    with pytest.raises(ValueError, match="text: .* of 59 vectors belong to other names: row 1 ") as raised:
        check_order(released, literature, LITERATURE_CLASSES, "text")
    message = str(raised.value)
    assert "row 1 (bicycle) is nearest to 'bag'" in message
    assert "they are in the order of label set context59; make them anew" in message


def test_two_exchanged_vectors_are_refused() -> None:
    exchanged = vectors_of(("dog", "cat", "cow", "sheep"))
    with pytest.raises(
        ValueError, match=r"2 of 4 .*row 0 \(cat\) is nearest to 'dog'.*of no known label set"
    ):
        check_order(exchanged, vectors_of(NAMES), NAMES, "a")


def test_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="another CLIP"):
        check_order(vectors_of(NAMES), vectors_of(NAMES)[:, :16], NAMES, "a")


def scaled(row: int, value: float) -> torch.Tensor:
    vectors = vectors_of(NAMES)
    vectors[row] *= value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (vectors_of(NAMES)[:3], r"shape \(3, 32\), expected a row for each of the 4 classes"),
        (scaled(1, 1.5), "vectors of dog are not finite and of unit length"),
        (scaled(2, float("nan")), "vectors of cow are not finite and of unit length"),
        (vectors_of(("cat", "dog", "cat", "sheep")), "cat, cow share a vector"),
    ],
)
def test_vectors_that_do_not_fit_the_names_are_refused(vectors: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_shape(vectors, NAMES, "a")
