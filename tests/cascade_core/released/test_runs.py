"""Released checkpoints are identified by their shapes and metadata; the shapes are those of the full size."""

from typing import Any

import pytest
import torch

from cascade_core.configs.recipes import recipe
from cascade_core.datasets.catalogue import protocol
from cascade_core.released.runs import ReleasedRun, identify, read_evidence
from tests.released import released_shapes, small_released

ALPHABETICAL, LITERATURE = (
    list(protocol(name).classes) for name in ("context59-released", "context59-literature")
)


def _identify(
    name: str, *, num_fed: int | None = None, meta: dict[str, Any] | None = None, **options: Any
) -> ReleasedRun:
    return identify(read_evidence(released_shapes(name, num_fed=num_fed), meta or {}), **options)


@pytest.mark.parametrize(
    ("name", "options", "recipe_name"),
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
def test_a_published_run_gets_its_recipes_whole_configuration(
    name: str, options: dict[str, Any], recipe_name: str
) -> None:
    run, published = _identify(name, **options), recipe(recipe_name)
    assert run.config == published
    assert run.split == protocol(published.data.protocol)
    assert (run.setting, run.iteration) == ("inductive", published.train.iterations)


def test_metadata_or_the_user_decide_between_contexts_two_orders() -> None:
    with pytest.raises(
        ValueError, match=r"fits several protocols: context59-released, context59-literature.*add --protocol"
    ):
        _identify("cascade_context", setting="inductive")
    for classes, name in ((ALPHABETICAL, "context59-released"), (LITERATURE, "context59-literature")):
        run = _identify("cascade_context", meta={"CLASSES": classes}, setting="inductive")
        assert run.config.data.protocol == run.split.name == name
        assert run.config.model == recipe("cascade_context59").model


def test_a_protocol_that_contradicts_the_metadata_is_refused() -> None:
    with pytest.raises(ValueError, match="name 59 classes.*'bag', not 'bicycle'.*in this order"):
        _identify(
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
def test_the_setting_follows_from_the_loss_and_the_metadata(
    name: str, num_fed: int, config: str | None, setting: str
) -> None:
    assert _identify(name, num_fed=num_fed, meta={"config": config}).setting == setting


@pytest.mark.parametrize(
    ("name", "num_fed", "possible"),
    [
        ("zeg_voc", 20, "transductive_oracle or supervised"),
        ("zeg_coco", 156, "inductive or transductive_oracle"),
        ("cascade_coco", 171, "transductive_oracle or supervised"),
    ],
)
def test_an_error_asks_for_a_setting_that_the_file_leaves_open(
    name: str, num_fed: int, possible: str
) -> None:
    with pytest.raises(ValueError, match=f"{possible}.*add --setting"):
        _identify(name, num_fed=num_fed)


def test_a_setting_that_contradicts_the_metadata_is_refused() -> None:
    with pytest.raises(ValueError, match="self-trains; setting 'inductive' contradicts it"):
        _identify("zeg_voc", meta={"config": "self_training=True"}, setting="inductive")


def test_iterations_come_from_the_metadata_else_the_schedule() -> None:
    halfway = _identify("zeg_voc", meta={"iter": 10_000})
    assert (halfway.iteration, halfway.total_iterations) == (10_000, 20_000)
    run = _identify("zeg_voc", setting="transductive_oracle")
    assert (run.iteration, run.total_iterations) == (10_000, 10_000)


def test_an_error_compares_an_unknown_run_with_published_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"zegclip with 10 prompts, pictures of 512.*a loss for 12 classes, which fits no published run: "
        r"zegclip_voc12 .zegclip, 10 prompts, 15 seen classes of 20.*--protocol",
    ):
        _identify("zeg_voc", num_fed=12)
    with pytest.raises(
        ValueError, match="loss is for 12 classes; protocol 'voc12-15-5' has 15 seen ones of 20"
    ):
        _identify("zeg_voc", num_fed=12, protocol="voc12-15-5")


def test_an_unpublished_run_keeps_its_shapes_and_picture_size() -> None:
    state = small_released("cascade_voc", num_fed=18)
    run = identify(read_evidence(state, {}), protocol="mini-18-6", setting="inductive")
    model, evaluate = run.config.model, run.config.evaluate
    assert (model.clip.width, model.image_size, model.num_prompts) == (64, 32, 10)
    assert (evaluate.short_side, evaluate.crop_size, evaluate.stride) == (32, 32, 26)
    assert (run.config.method, run.config.data.protocol) == ("cascade_clip", "mini-18-6")


def test_zegclip_on_context_gets_the_templates_of_context() -> None:
    run = _identify("zeg_voc", num_fed=49, protocol="context59-literature", setting="inductive")
    assert run.config.data.templates == recipe("cascade_context59").data.templates


@pytest.mark.parametrize(
    "keys", [["model.backbone.conv1.weight"], ["backbone.conv1.weight"], ["trunk.visual.proj", "decoder.x"]]
)
def test_an_unknown_layout_is_an_error_with_the_expected_keys(keys: list[str]) -> None:
    with pytest.raises(ValueError, match=r"unknown checkpoint layout: expected .*'backbone\.\*'.*; found "):
        read_evidence({key: torch.zeros(1) for key in keys}, {})
