"""The bootstrap over pictures, against a definition in loops."""

import numpy as np
import pytest
import torch

from cascade_core.datasets.catalogue import protocol
from cascade_core.errors import UserError
from cascade_core.scoring.bootstrap import resampled_scores
from cascade_core.scoring.confusion import ConfusionMatrix
from cascade_core.scoring.scores import scores

SPLIT = protocol("mini-18-6")


def drawn_maps(rng: np.random.Generator, num_pictures: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw truths and predictions of few classes, so that some resamples lack some classes."""
    ids = [rng.choice(SPLIT.num_classes, 3, replace=False) for _ in range(num_pictures)]
    return [tuple(torch.from_numpy(own[rng.integers(0, 3, (2, 40))])) for own in ids]  # type: ignore[misc]


def counts_of(maps: list[tuple[torch.Tensor, torch.Tensor]]) -> np.ndarray:
    counts = np.zeros((len(maps), 3, SPLIT.num_classes), dtype=np.int64)
    for own, (truth, predicted) in zip(counts, maps, strict=True):
        for row, ids in enumerate((truth[truth == predicted], predicted, truth)):
            own[row] = torch.bincount(ids, minlength=SPLIT.num_classes)
    return counts


def test_a_resample_scores_as_a_data_set_of_its_pictures() -> None:
    maps = drawn_maps(np.random.default_rng(1), 6)
    (done,) = resampled_scores([counts_of(maps)], seen=SPLIT.seen, unseen=SPLIT.unseen, resamples=20, seed=5)
    draws = np.random.default_rng(5).multinomial(6, [1 / 6] * 6, size=20)
    for place, draw in enumerate(draws):
        confusion = ConfusionMatrix(SPLIT.num_classes)
        for (truth, predicted), times in zip(maps, draw, strict=True):
            for _ in range(times):
                confusion.update(predicted, truth)
        slow = scores(confusion, SPLIT)
        for name, values in done.items():
            assert values[place] == pytest.approx(getattr(slow, name), abs=1e-12, nan_ok=True)


def test_models_share_draws_and_few_pictures_spread_more() -> None:
    maps = drawn_maps(np.random.default_rng(2), 64)
    counts = counts_of(maps)
    one, same = resampled_scores([counts, counts], seen=SPLIT.seen, unseen=())
    np.testing.assert_array_equal(one["pAcc"], same["pAcc"])
    assert np.isnan(one["hiou"]).all() and np.isnan(one["miou_unseen"]).all()
    # All pictures have 40 pixels, so pAcc is a mean over pictures, whose deviation is known.
    shares = counts[:, 0].sum(axis=1) / 40
    assert one["pAcc"].std() == pytest.approx(shares.std() / 8, rel=0.1)


def test_counts_of_other_or_no_pictures_are_refused() -> None:
    counts = np.ones((4, 3, 2), dtype=np.int64)
    for models in ([counts, counts[:3]], [counts[:0]]):
        with pytest.raises(UserError, match="give models of the same pictures"):
            resampled_scores(models, seen=(0,), unseen=(1,))
