"""Which run a released checkpoint is of, at full size by shapes alone."""

from typing import Any

import pytest
import torch

from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.released.runs import ReleasedRun, recognise, told_by
from tests.released import released_shapes, small_released

ALPHABETICAL, LITERATURE = (
    list(protocol(name).classes) for name in ("context59-released", "context59-literature")
)


def _recognised(
    name: str, *, num_fed: int | None = None, meta: dict[str, Any] | None = None, **stated: Any
) -> ReleasedRun:
    return recognise(told_by(released_shapes(name, num_fed=num_fed), meta or {}), **stated)


@pytest.mark.parametrize(
    ("name", "stated", "named"),
    [
        ("zeg_voc", {}, "zegclip_voc12"),
        ("cascade_voc", {}, "cascade_voc12"),
        ("zeg_coco", {"setting": "inductive"}, "zegclip_cocostuff"),
        ("cascade_coco", {"setting": "inductive"}, "cascade_cocostuff"),
        (
            "cascade_context",
            {"setting": "inductive", "protocol": "context59-released"},
            "cascade_context59",
        ),
    ],
)
def test_each_published_run_gets_its_recipe_s_whole_configuration(
    name: str, stated: dict[str, Any], named: str
) -> None:
    found = _recognised(name, **stated)
    assert found.config == recipe(named)
    assert found.split == protocol(recipe(named).data.protocol)
    assert (found.setting, found.iteration) == ("inductive", recipe(named).train.iterations)


def test_context_s_two_orders_are_told_apart_by_the_notes_or_asked_for() -> None:
    with pytest.raises(
        ValueError, match=r"fits several protocols: context59-released, context59-literature.*add --protocol"
    ):
        _recognised("cascade_context", setting="inductive")
    for classes, name in ((ALPHABETICAL, "context59-released"), (LITERATURE, "context59-literature")):
        found = _recognised("cascade_context", meta={"CLASSES": classes}, setting="inductive")
        assert found.config.data.protocol == found.split.name == name
        assert found.config.model == recipe("cascade_context59").model


def test_notes_that_name_other_classes_than_the_protocol_stated_are_believed() -> None:
    with pytest.raises(ValueError, match="name 59 classes.*'bag', not 'bicycle'.*in this order"):
        _recognised(
            "cascade_context",
            meta={"CLASSES": ALPHABETICAL},
            protocol="context59-literature",
            setting="inductive",
        )


@pytest.mark.parametrize(
    ("name", "num_fed", "config", "setting"),
    [
        ("zeg_voc", 15, None, "inductive"),
        ("zeg_voc", 20, "decode_head=dict(self_training=True)", "transductive_oracle"),
        ("zeg_voc", 20, "decode_head=dict(x=1)", "supervised"),
        ("zeg_coco", 156, "model = dict(self_training = True)", "transductive_oracle"),
        ("zeg_coco", 156, "model = dict(self_training=False)", "inductive"),
        ("zeg_coco", 171, "model = dict()", "supervised"),
    ],
)
def test_the_setting_is_told_by_the_loss_and_the_configuration_in_the_notes(
    name: str, num_fed: int, config: str | None, setting: str
) -> None:
    assert _recognised(name, num_fed=num_fed, meta={"config": config}).setting == setting


@pytest.mark.parametrize(
    ("name", "num_fed", "possible"),
    [
        ("zeg_voc", 20, "transductive_oracle or supervised"),
        ("zeg_coco", 156, "inductive or transductive_oracle"),
        ("cascade_coco", 171, "transductive_oracle or supervised"),
    ],
)
def test_a_setting_that_nothing_tells_is_asked_for(name: str, num_fed: int, possible: str) -> None:
    with pytest.raises(ValueError, match=f"{possible}.*add --setting"):
        _recognised(name, num_fed=num_fed)


def test_a_setting_against_the_checkpoint_s_own_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="self-trains; setting 'inductive' contradicts it"):
        _recognised("zeg_voc", meta={"config": "self_training=True"}, setting="inductive")


def test_iterations_are_those_of_the_notes_else_of_the_schedule() -> None:
    halfway = _recognised("zeg_voc", meta={"iter": 10_000})
    assert (halfway.iteration, halfway.total_iterations) == (10_000, 20_000)
    found = _recognised("zeg_voc", setting="transductive_oracle")
    assert (found.iteration, found.total_iterations) == (10_000, 10_000)


def test_what_no_published_run_has_is_told_with_what_they_have_and_the_way_out() -> None:
    with pytest.raises(
        ValueError,
        match=r"zegclip with 10 prompts, pictures of 512.*a loss for 12 classes, as no published run is: "
        r"zegclip_voc12 .zegclip, 10 prompts, 15 seen classes of 20.*--protocol",
    ):
        _recognised("zeg_voc", num_fed=12)
    with pytest.raises(
        ValueError, match="loss is for 12 classes; protocol 'voc12-15-5' has 15 seen ones of 20"
    ):
        _recognised("zeg_voc", num_fed=12, protocol="voc12-15-5")


def test_a_run_of_one_s_own_gets_its_shapes_and_inference_at_its_size() -> None:
    state = small_released("cascade_voc", num_fed=18)
    found = recognise(told_by(state, {}), protocol="mini-18-6", setting="inductive")
    model, evaluate = found.config.model, found.config.evaluate
    assert (model.clip.width, model.image_size, model.num_prompts) == (64, 32, 10)
    assert (evaluate.short_side, evaluate.crop_size, evaluate.stride) == (32, 32, 26)
    assert (found.config.method, found.config.data.protocol) == ("cascade_clip", "mini-18-6")


def test_zegclip_on_context_gets_the_templates_of_context() -> None:
    found = _recognised("zeg_voc", num_fed=49, protocol="context59-literature", setting="inductive")
    assert found.config.data.templates == recipe("cascade_context59").data.templates


@pytest.mark.parametrize(
    "keys", [["model.backbone.conv1.weight"], ["backbone.conv1.weight"], ["trunk.visual.proj", "decoder.x"]]
)
def test_an_unknown_layout_is_one_error_that_says_what_was_expected(keys: list[str]) -> None:
    with pytest.raises(ValueError, match=r"unknown checkpoint layout: expected .*'backbone\.\*'.*; found "):
        told_by({key: torch.zeros(1) for key in keys}, {})
