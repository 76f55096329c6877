"""Transport plans: marginals, the published iterations, gradients, and invariances."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_core.model.sinkhorn import sinkhorn

from .transport_in_loops import plan_of


def _cosines(seed: int, *, templates: int, patches: int, width: int = 6) -> Tensor:
    """Cosines of random directions: the fewer dimensions, the wider they spread, and the slower the iterations settle."""
    generator = torch.Generator().manual_seed(seed)
    texts = F.normalize(torch.randn(2, 3, templates, width, generator=generator), dim=-1)
    return texts @ F.normalize(torch.randn(width, patches, generator=generator), dim=0)


@pytest.mark.parametrize("templates", [2, 3, 6, 8])
@pytest.mark.parametrize("width", [6, 16, 64])
def test_every_text_has_its_share(templates: int, width: int) -> None:
    plan = sinkhorn(_cosines(width, templates=templates, patches=64, width=width))
    torch.testing.assert_close(plan.sum(dim=-1) * templates, torch.ones(2, 3, templates), atol=1e-5, rtol=0)
    assert (plan >= 0).all()


@pytest.mark.parametrize(
    ("width", "patches", "bound"),
    [
        (4, 64, 3e-2),
        (6, 64, 3e-2),
        (8, 64, 1e-2),
        (16, 64, 5e-4),
        (64, 64, 1e-6),
        (4, 1024, 2e-2),
        (6, 1024, 5e-3),
        (8, 1024, 1e-3),
        (16, 1024, 1e-5),
        (64, 1024, 1e-6),
        (512, 1024, 1e-6),
    ],
)
def test_a_patchs_share_is_as_near_as_the_docs_state(width: int, patches: int, bound: float) -> None:
    """`docs/methods.md` has these bounds, of 20 draws for each number of texts; none is more than five times too wide."""
    draws = range(20 if width < 64 else 2)
    worst = 0.0
    for templates in (2, 3, 6, 8):
        cosines = [_cosines(seed, templates=templates, patches=patches, width=width) for seed in draws]
        shares = patches * sinkhorn(torch.cat(cosines)).sum(dim=-2)
        worst = max(worst, float((shares - 1).abs().max()))
    assert worst <= bound, worst
    assert worst > bound / 5 or bound == 1e-6, worst


def test_the_plan_is_that_of_the_published_iterations() -> None:
    scores = _cosines(1, templates=3, patches=5).double()[:1, :1]
    expected = plan_of(scores[0, 0].mT)
    torch.testing.assert_close(sinkhorn(scores)[0, 0].mT, expected, atol=1e-12, rtol=1e-9)


def test_the_published_addition_scales_a_plan_by_its_texts() -> None:
    scores = _cosines(1, templates=3, patches=5).double()[0, 0].mT
    torch.testing.assert_close(
        plan_of(scores, added=1e-8), (1 + 3 * 1e-8) * plan_of(scores), atol=0, rtol=1e-12
    )


def test_one_text_gets_the_same_share_of_every_patch() -> None:
    plan = sinkhorn(_cosines(2, templates=1, patches=9))
    torch.testing.assert_close(plan, torch.full_like(plan, 1 / 9))


def test_the_hardest_scores_keep_finite_plans_and_gradients() -> None:
    scores = torch.tensor([[1.0, 1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]])[
        None, None
    ].requires_grad_()
    plan = sinkhorn(scores)
    (plan * torch.arange(9.0).view(3, 3)).sum().backward()
    assert plan.isfinite().all() and scores.grad is not None and scores.grad.isfinite().all()


def test_gradients_flow_through_the_iterations() -> None:
    scores = _cosines(3, templates=2, patches=4).double()[:1, :1].requires_grad_()
    assert torch.autograd.gradcheck(lambda values: sinkhorn(values, iterations=5), scores)


def test_plans_under_autocast_are_in_float32() -> None:
    scores = _cosines(4, templates=3, patches=16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = sinkhorn(scores)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, sinkhorn(scores))


@pytest.mark.parametrize("axis", [2, 3])
def test_permuted_texts_or_patches_permute_the_plan(axis: int) -> None:
    scores = _cosines(5, templates=4, patches=7)
    order = torch.randperm(scores.shape[axis], generator=torch.Generator().manual_seed(0))
    permuted = sinkhorn(scores.index_select(axis, order))
    torch.testing.assert_close(permuted, sinkhorn(scores).index_select(axis, order))
