"""A training step against a plain version of the published one: any size, any labels, both precisions."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks import plain
from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.config import RunConfig
from cascade_core.losses.focal_dice import segmentation_loss
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from tests.devices import ON_EACH_DEVICE
from tests.tiny import TINY_CLIP, tiny_config

CASCADE = tiny_config()
ZEGCLIP = CASCADE.model_copy(
    update={"model": CASCADE.model.model_copy(update={"fusion": "none", "groups": ()})}
)
METHODS = pytest.mark.parametrize("config", [ZEGCLIP, CASCADE], ids=["zegclip", "cascade_clip"])

BF16 = 0.03
"""The tolerated relative (L2) distance of bfloat16 from single precision; bfloat16's spacing is 2^-8 = 0.004."""


@dataclass(frozen=True)
class Case:
    """The sizes and the seed from which a model, pictures, text vectors and labels follow."""

    seed: int
    side: int
    batch: int
    classes: int
    prompts: int
    present: int
    ignored: float

    def model(self, config: RunConfig, device: torch.device) -> Segmentor:
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            tower = VisionTransformer(TINY_CLIP)
        shape = config.model.model_copy(update={"num_prompts": self.prompts})
        return build_segmentor(shape, tower, seed=self.seed).to(device).eval()

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Draw pictures, vectors and labels of at most `present` classes, with the share `ignored` of pixels ignored.

        If that share is not 0, the last of several pictures has no labels.
        """
        draw = torch.Generator().manual_seed(self.seed)
        images = torch.randn(self.batch, 3, self.side, self.side, generator=draw)
        vectors = torch.randn(self.classes, TINY_CLIP.embed_dim, generator=draw)
        labels = torch.randint(0, self.present, (self.batch, 32, 32), generator=draw) % self.classes
        labels[torch.rand(labels.shape, generator=draw) < self.ignored] = 255
        if self.ignored:
            labels[1:][-1:] = 255
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return images.to(device), vectors.to(device), labels.to(device)


cases = st.builds(
    Case,
    seed=st.integers(0, 99),
    side=st.integers(16, 56),
    batch=st.integers(1, 3),
    classes=st.integers(1, 9),
    prompts=st.integers(1, 5),
    present=st.integers(1, 9),
    ignored=st.sampled_from([0.0, 0.4, 1.0]),
)
empty = example(case=Case(seed=0, side=40, batch=2, classes=5, prompts=2, present=2, ignored=1.0))
half_empty = example(case=Case(seed=1, side=32, batch=2, classes=7, prompts=2, present=2, ignored=0.4))


@dataclass(frozen=True)
class Step:
    """Logits, loss and gradients of one step; the gradient of an unused weight is zero."""

    logits: Tensor
    loss: Tensor
    gradients: dict[str, Tensor]

    def distances(self, other: "Step") -> dict[str, float]:
        """Return the relative distances to another step; all gradients count as one vector."""
        ours, theirs = (
            torch.cat([g.flatten() for _, g in sorted(s.gradients.items())]) for s in (self, other)
        )
        pairs = {
            "logits": (self.logits, other.logits),
            "loss": (self.loss, other.loss),
            "gradients": (ours, theirs),
        }
        return {name: float((a - b).norm() / b.norm()) for name, (a, b) in pairs.items()}


def _ours(model: Segmentor, config: RunConfig, inputs: tuple[Tensor, Tensor, Tensor], *, mixed: bool) -> Step:
    images, vectors, labels = inputs
    with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
        logits = model.grid_logits(images, vectors)
    return _step(model, logits, segmentation_loss(logits, labels, config.loss, mask_size=(32, 32)).total)


def _published(
    model: Segmentor, config: RunConfig, inputs: tuple[Tensor, Tensor, Tensor], *, mixed: bool
) -> Step:
    images, vectors, labels = inputs
    with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
        logits = plain.grid_logits(model, images, vectors)
    terms = plain.loss(logits.float(), labels, config.loss)
    return _step(model, logits.float(), terms["focal"] + terms["dice"])


def _step(model: Segmentor, logits: Tensor, loss: Tensor) -> Step:
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    grads = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(weight) if gradient is None else gradient
        for (name, weight), gradient in zip(weights.items(), grads, strict=True)
    }
    return Step(logits.detach(), loss.detach(), gradients)


@METHODS
@ON_EACH_DEVICE
@given(case=cases)
@empty
@half_empty
@settings(max_examples=5)
def test_logits_loss_and_gradients_are_the_published_ones(
    config: RunConfig, device: torch.device, case: Case
) -> None:
    model, inputs = case.model(config, device), case.inputs(device)
    ours, published = (step(model, config, inputs, mixed=False) for step in (_ours, _published))
    torch.testing.assert_close(ours.logits, published.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.loss, published.loss, rtol=1e-5, atol=1e-6)
    scale = max(float(gradient.abs().max()) for gradient in published.gradients.values())
    for name, gradient in published.gradients.items():
        torch.testing.assert_close(
            ours.gradients[name],
            gradient,
            rtol=1e-3,
            atol=1e-5 * scale,
            msg=lambda m, name=name: f"{name}: {m}",
        )


@METHODS
@ON_EACH_DEVICE
@given(case=cases)
@empty
@half_empty
@settings(max_examples=5)
def test_bfloat16_steps_are_as_exact_as_the_published_ones(
    config: RunConfig, device: torch.device, case: Case
) -> None:
    model, inputs = case.model(config, device), case.inputs(device)
    exact = _published(model, config, inputs, mixed=False)
    ours = _ours(model, config, inputs, mixed=True).distances(exact)
    published = _published(model, config, inputs, mixed=True).distances(exact)
    for name, distance in ours.items():
        assert distance <= max(BF16, 2 * published[name]), (name, ours, published)
