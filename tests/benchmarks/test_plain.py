"""What users run against the published computation written plainly: the same numbers."""

import pytest
import torch
from torch import Tensor

from benchmarks import plain
from cascade_core.clip.vision import VisionTransformer
from cascade_core.evaluate.prediction import label_maps
from cascade_core.evaluate.vocabulary import Vocabulary
from cascade_core.model.build import build_segmentor
from cascade_core.model.segmentor import Segmentor
from tests.tiny import TINY_CLIP, tiny_config

CASCADE = tiny_config(mode="slide")
ZEGCLIP = CASCADE.model_copy(
    update={"model": CASCADE.model.model_copy(update={"fusion": "none", "groups": ()})}
)
SEEN = [0, 2, 3]


@pytest.fixture(params=[ZEGCLIP, CASCADE], ids=["zegclip", "cascade_clip"])
def model(request: pytest.FixtureRequest) -> Segmentor:
    torch.manual_seed(0)
    return build_segmentor(request.param.model, VisionTransformer(TINY_CLIP), seed=0)


def _vectors() -> Tensor:
    vectors = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shown", "size"), [((40, 56), (50, 70)), ((32, 91), (24, 68)), ((32, 32), (7, 1)), ((32, 50), (32, 50))]
)
@torch.no_grad()
def test_label_maps_are_the_same(
    model: Segmentor, shown: tuple[int, int], size: tuple[int, int], dtype: torch.dtype
) -> None:
    model, vectors = model.eval().to(dtype), _vectors().to(dtype)
    picture = torch.randn(1, 3, *shown).to(dtype)
    asked = Vocabulary(model, vectors, "focal_dice", seen=SEEN, seen_penalty=0.1)
    ours = label_maps(asked, picture, evaluate=CASCADE.evaluate, size=size)
    sizes = {"size": size, "crop": 32, "stride": 24}
    published = plain.score_maps(
        model.float(), picture.float(), vectors.float(), seen=SEEN, seen_penalty=0.1, **sizes
    )
    # Where two classes are equal up to rounding, either may win.
    rounding = 1e-5 if dtype == torch.float32 else 0.02
    chosen = published.gather(1, ours[:, None])[:, 0]
    torch.testing.assert_close(chosen, published.amax(dim=1), atol=rounding, rtol=0)
