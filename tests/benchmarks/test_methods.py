"""The table of all methods beside ZegCLIP."""

import torch

from benchmarks.cases import random_model
from benchmarks.methods import BASE, MethodTimes, recipes
from cascade_core.configs.recipes import recipe


def test_every_method_of_coco_stuff_is_measured_after_zegclip() -> None:
    names = recipes()
    assert names[0] == BASE and len(set(names)) == len(names)
    assert {"cascade_cocostuff", "spt_seg_cocostuff", "otseg_cocostuff"} < set(names)
    assert {recipe(name).data.protocol.partition("-")[0] for name in names} == {"cocostuff"}


def test_a_row_divides_by_the_time_of_zegclip_in_the_same_run() -> None:
    base, other = MethodTimes(BASE, 1000, 2.0, 8.0), MethodTimes("otseg_cocostuff", 12345, 3.0, 6.0)
    assert other.line(base) == "| `otseg_cocostuff` | 12,345 | 1.50 (3.00 s) | 0.75 (6.00 s) |"


def test_a_model_with_a_text_tower_gets_tokens() -> None:
    segmentor, ids = random_model(recipe("mini_cat_seg"))
    segmentor.check_ids(ids)
    assert segmentor.text is not None and torch.equal(ids, ids.round()) and ids.max() > 1
