"""Measuring every case and several models in turns, also when memory runs out."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cascade_core.clip.vision import VisionTransformer
from cascade_core.configs.recipes import recipe
from cascade_core.model.build import build_segmentor
from cascade_core.profile.case import Case, Speed, Subject
from cascade_core.profile.measure import Cost, Settings, check, measure
from cascade_core.profile.two_stage import Regions, TwoStage
from tests.devices import ON_EACH_DEVICE
from tests.tiny import TINY_CLIP, tiny_config

CPU = torch.device("cpu")
VECTORS = torch.nn.functional.normalize(torch.ones(5, 16), dim=-1)


def tiny() -> Subject:
    segmentor = build_segmentor(tiny_config().model, VisionTransformer(TINY_CLIP), seed=0)
    return Subject("tiny", segmentor, VECTORS, image_size=32, patch_size=8)


def quick(*subjects: Subject, device: torch.device = CPU, **settings: object) -> tuple[Cost, ...]:
    all_settings = Settings(**{"batch_sizes": (1,), "repeats": 2, **settings})  # type: ignore[arg-type]
    return measure(subjects, all_settings, device, report=lambda done, total, text: None)


class Forgetful(nn.Module):
    """Runs out of memory above a batch size, as a GPU does."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.most = most

    def forward(self, images: Tensor, class_vectors: Tensor) -> Tensor:
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.new_zeros(len(images), len(class_vectors), *images.shape[-2:])


def test_every_batch_and_picture_size_is_measured_and_reported() -> None:
    reports = []
    (cost,) = measure(
        [tiny()],
        Settings(batch_sizes=(1, 2), image_sizes=(32, 48), repeats=1),
        CPU,
        report=lambda done, total, text: reports.append((done, total)),
    )
    sizes = [(speed.batch_size, speed.image_size) for speed in cost.speeds]
    assert sizes == [(1, 32), (2, 32), (1, 48), (2, 48)]
    assert reports == [(done, 9) for done in range(1, 10)]
    assert cost.images_per_second == max(speed.images_per_second for speed in cost.speeds[:2])
    assert cost.peak_memory_mib == max(speed.peak_memory_mib for speed in cost.speeds[:2])


def test_median_and_quartiles_are_those_of_the_runs() -> None:
    case = Case(tiny(), 2, 32, CPU)
    case.seconds += [0.4, 0.1, 0.2, 0.3, 0.9]
    speed = case.speed()
    assert speed.milliseconds_per_batch == pytest.approx(300)
    assert speed.milliseconds_quartiles == pytest.approx((200, 400))
    assert speed.images_per_second == pytest.approx(2 / 0.3)


@ON_EACH_DEVICE
def test_the_breakdown_adds_up_and_leaves_little_unexplained(device: torch.device) -> None:
    config = recipe("mini_cascade_clip")
    segmentor = build_segmentor(config.model, VisionTransformer(config.model.clip), seed=0)
    (cost,) = quick(Subject("mini", segmentor, torch.randn(24, 64), 64, 8), device=device, batch_sizes=(2,))
    parts = {part.name: part for part in cost.breakdown.parts}
    assert cost.breakdown.milliseconds == pytest.approx(sum(part.milliseconds for part in parts.values()))
    assert sum(part.gmacs for part in parts.values()) == pytest.approx(2 * cost.gmacs)
    assert parts["other"].gmacs == 0
    assert cost.peak_memory_mib > 0 or device == CPU
    named = {"attention", "feed-forward", "norms", "mid projections", "query map", "decoders", "upsampling"}
    assert all(parts[name].milliseconds > 0 for name in named)


def test_models_take_turns_and_share_the_reference() -> None:
    baseline = TwoStage(VisionTransformer(TINY_CLIP), Regions(4))
    first, second = quick(tiny(), replace(tiny(), name="two_stage", model=baseline, patch_size=1))
    assert first.relative_speed / second.relative_speed == pytest.approx(
        first.images_per_second / second.images_per_second
    )
    assert second.trainable_params == second.dead_params == 0


def test_another_picture_size_leaves_the_model_unchanged() -> None:
    subject = tiny()
    sized = subject.at(48)
    assert sized(torch.zeros(1, 3, 48, 48), VECTORS).shape == (1, 5, 48, 48)
    assert subject.model(torch.zeros(1, 3, 48, 48), VECTORS).shape == (1, 5, 32, 32)


def test_a_case_out_of_memory_is_marked_and_the_others_run() -> None:
    (cost,) = quick(Subject("hungry", Forgetful(1), VECTORS, 16, 1), batch_sizes=(2, 1))
    assert cost.speeds[0] == Speed(2, 16)
    assert cost.speeds[1].images_per_second == cost.images_per_second > 0
    assert cost.breakdown.batch_size == 1


class Growing(Forgetful):
    """Has memory for `most` calls of its larger batch, so that only the label maps are too much."""

    def forward(self, images: Tensor, class_vectors: Tensor) -> Tensor:
        self.most -= len(images) > 1
        if len(images) > 1 and self.most < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.new_zeros(len(images), len(class_vectors), *images.shape[-2:])


def test_parts_out_of_memory_come_from_the_next_case() -> None:
    # Two calls for memory, two for time.
    (cost,) = quick(Subject("growing", Growing(4), VECTORS, 16, 1), batch_sizes=(2, 1))
    assert all(speed.images_per_second for speed in cost.speeds)
    assert cost.breakdown.batch_size == 1


def test_a_model_that_always_runs_out_of_memory_is_an_error() -> None:
    with pytest.raises(ValueError, match="hungry ran out of memory at every batch size with pictures of 16"):
        quick(Subject("hungry", Forgetful(0), VECTORS, 16, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_sizes": (1, 0)}, "batch sizes 1, 0: give whole numbers from 1"),
        ({"batch_sizes": ()}, "batch sizes none"),
        ({"image_sizes": (-8,)}, "picture sizes -8"),
        ({"repeats": 0}, "repeats 0"),
        ({"image_sizes": (32, 36)}, "size 36 is no multiple of the patches of tiny, .* give 32 or 40"),
    ],
)
def test_impossible_settings_are_refused_before_anything_runs(
    settings: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quick(tiny(), **settings)


def test_no_model_is_an_error() -> None:
    with pytest.raises(ValueError, match="no model to measure"):
        check([], Settings())
