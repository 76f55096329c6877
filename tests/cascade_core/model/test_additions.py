"""The settings that the ablations need: aggregation within a group, shared parts, prompt depth, projections' own seed."""

import pytest
import torch
from torch import Tensor

from cascade_core.configs.model import ModelConfig
from cascade_core.errors import UserError
from cascade_core.model.aggregation import AttendedLevels, gaussian_weights
from cascade_core.model.build import set_inference
from cascade_core.model.decoder import names_without_gradient
from cascade_core.model.segmentor import Segmentor

from .small import CASCADE, NAIVE, config, segmentor

ADDITIONS = {
    "mid_projection_seed": None,
    "aggregation": "gaussian",
    "aggregation_sigma": 1.0,
    "decoders": "independent",
    "query_projections": "own",
    "prompt_depth": None,
    "picture_cosine": 0.0,
    "patch_cosine": 0.0,
    "cosines_in_training": 1.0,
}
OTHERS = [
    {"aggregation": "gaussian_fixed"},
    {"aggregation": "uniform"},
    {"aggregation": "learned"},
    {"aggregation": "concatenated", "head_init": "trunc_normal"},
    {"aggregation": "attention"},
    {"aggregation_sigma": 2.0},
    {"decoders": "shared"},
    {"query_projections": "shared"},
    {"decoders": "shared", "query_projections": "shared"},
    {"mid_projection_seed": 7},
    {"prompt_depth": 1},
    {"prompt_depth": 2},
    {"picture_cosine": 1.5},
    {"patch_cosine": -2.0, "cosines_in_training": 0.0},
]


def logits(model: Segmentor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    images, vectors = (torch.randn(size, generator=generator) for size in ((2, 3, 32, 32), (5, 12)))
    return model.grid_logits(images, vectors)


def test_published_values_stay_out_of_files_and_others_come_back() -> None:
    plain = config(**CASCADE)
    assert not ADDITIONS.keys() & plain.model_dump().keys()
    assert plain == config(**CASCADE, **ADDITIONS)
    for changes in OTHERS:
        changed = config(**CASCADE, **changes)
        assert ModelConfig.model_validate_json(changed.model_dump_json()) == changed
        assert changes.items() <= changed.model_dump().items()


@pytest.mark.parametrize(
    "changes",
    [
        {"aggregation": "uniform"},
        {"decoders": "shared", **NAIVE},
        {"query_projections": "shared"},
        {"aggregation_sigma": 2.0, "aggregation": "learned", **CASCADE},
        {"mid_projection_seed": 3},
        {"mid_projection_seed": 3, "mid_projection_init": "clip", **CASCADE},
        {"prompt_depth": 5},
        {"prompt_depth": 2, "trunk": "frozen"},
        {"picture_cosine": 1.0, "decoder": "linear", "trunk": "frozen"},
        {"cosines_in_training": 0.5, **CASCADE},
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(changes))}=.* needs "):
        config(**changes)


@pytest.mark.parametrize("changes", OTHERS, ids=str)
def test_each_changes_the_masks_and_trains_all_that_it_has(changes: dict) -> None:
    model = segmentor(**CASCADE, **changes)
    masks = logits(model)
    assert masks.shape == (2, 5, 4, 4)
    if changes != {"aggregation": "gaussian_fixed"}:
        assert not torch.allclose(masks, logits(segmentor(**CASCADE)), atol=1e-4)
    masks.square().mean().backward()
    trains = {name for name, weight in model.named_parameters() if weight.requires_grad}
    without = {name for name in trains if model.get_parameter(name).grad is None}
    assert without == names_without_gradient(model)
    # Each weight is saved under one name, as safetensors demands.
    assert set(dict(model.named_parameters())) == set(model.state_dict())


def test_a_wide_gaussian_weighs_levels_as_a_sum_does() -> None:
    wide, sum_, learned = (
        segmentor(**CASCADE, **changes)
        for changes in ({"aggregation_sigma": 1e6}, {"aggregation": "uniform"}, {"aggregation": "learned"})
    )
    torch.testing.assert_close(logits(wide), logits(sum_))
    assert torch.equal(logits(sum_), logits(learned))
    assert torch.equal(gaussian_weights(3, 2.0), torch.exp(-torch.tensor([4.0, 1.0, 0.0]) / 8))


def test_only_weights_that_should_train_do() -> None:
    for kind, trains in (
        ("gaussian", True),
        ("gaussian_fixed", False),
        ("uniform", False),
        ("learned", True),
    ):
        weights = segmentor(**CASCADE, aggregation=kind).decoder.group_weights
        assert [one.requires_grad for one in weights] == [trains, trains]
    assert not list(segmentor(**CASCADE, aggregation="attention").decoder.group_weights)


@torch.no_grad()
def test_a_concatenation_can_be_the_gaussian_sum() -> None:
    model, reference = segmentor(**CASCADE, aggregation="concatenated"), segmentor(**CASCADE)
    model.load_state_dict(reference.state_dict(), strict=False)
    for one, weights in zip(model.decoder.aggregators, reference.decoder.group_weights, strict=True):
        one.proj.weight.copy_(torch.cat([weight * torch.eye(12) for weight in weights], dim=1))
        one.proj.bias.zero_()
    torch.testing.assert_close(logits(model), logits(reference))


@torch.no_grad()
def test_attention_mixes_the_levels_of_each_patch_alone() -> None:
    module = AttendedLevels(2, 4)
    levels = [torch.randn(1, 3, 4) for _ in range(2)]
    for patch in range(3):
        x = torch.stack([level[0, patch] for level in levels])
        mixed = torch.softmax(module.q(x) @ module.k(x).T / 2, dim=-1) @ module.v(x)
        torch.testing.assert_close(module(levels)[0, patch], mixed.sum(dim=0))


@torch.no_grad()
@pytest.mark.parametrize("part", ["decoder", "query"])
def test_shared_parts_equal_independent_ones_with_equal_weights(part: str) -> None:
    setting = "decoders" if part == "decoder" else "query_projections"
    shared, independent = segmentor(**CASCADE, **{setting: "shared"}), segmentor(**CASCADE)
    state = independent.state_dict()
    state |= shared.state_dict()
    for name in state:
        for stage in ("1", "2"):
            if name.startswith(f"decoder.stages.{stage}.{part}."):
                state[name] = state[name.replace(f"stages.{stage}.", "stages.0.")]
    independent.load_state_dict(state)
    torch.testing.assert_close(logits(shared), logits(independent))
    first, *rest = shared.decoder.stages
    assert getattr(first, part) is not None and all(getattr(stage, part) is None for stage in rest)


def test_projections_of_their_own_seed_do_not_follow_the_runs() -> None:
    def projections(seed: int, **changes: int) -> Tensor:
        return segmentor(seed, **CASCADE, **changes).decoder.mid.projections

    assert torch.equal(projections(1, mid_projection_seed=7), projections(2, mid_projection_seed=7))
    assert not torch.equal(projections(1, mid_projection_seed=7), projections(1, mid_projection_seed=8))
    own, plain = segmentor(**CASCADE, mid_projection_seed=7), segmentor(**CASCADE)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, own.state_dict()[name]) == (name != "decoder.mid.projections"), name


@torch.no_grad()
def test_blocks_beyond_the_prompts_depth_see_none() -> None:
    model = segmentor(prompt_depth=2)
    assert model.trunk.prompts.deep_prompt_embeddings.shape == (1, 3, 16)
    seen = []
    for block in model.trunk.visual.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1] is not None))
    logits(model)
    assert seen == [True, True, False, False]
    assert segmentor(prompt_depth=1).trunk.prompts.deep_prompt_embeddings is None
    assert torch.equal(logits(segmentor(prompt_depth=4)), logits(segmentor()))


@torch.no_grad()
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_cosines_of_picture_and_patches_join_the_masks(share: float) -> None:
    generator = torch.Generator().manual_seed(3)
    images, vectors = (torch.randn(size, generator=generator) for size in ((2, 3, 32, 32), (5, 12)))
    model, plain = (
        segmentor(**CASCADE, dropout=0.0, picture_cosine=2.0, patch_cosine=-3.0, cosines_in_training=share),
        segmentor(**CASCADE, dropout=0.0),
    )
    features = plain.trunk(images)
    expected = plain.decode(features, vectors)
    for picture in range(2):
        for place in range(5):
            text = vectors[place] / vectors[place].norm()
            for patch in range(16):
                cosine = features.patches[picture, patch] @ text
                expected[picture, place, patch // 4, patch % 4] += (
                    2 * features.global_embedding[picture] @ text - 3 * cosine
                )
    torch.testing.assert_close(model.grid_logits(images, vectors), expected)
    torch.testing.assert_close(model.decode(features, model.prepare(vectors)[1:3]), expected[:, 1:3])
    decoded = plain.train().decode(features, vectors)
    torch.testing.assert_close(
        model.train().decode(features, vectors) - decoded, share * (expected - decoded)
    )


@torch.no_grad()
def test_a_trained_model_gets_other_cosines_or_maps() -> None:
    changed, built = segmentor(**CASCADE), segmentor(**CASCADE, picture_cosine=1.0, patch_cosine=-2.0)
    set_inference(changed, {"picture_cosine": 1.0, "patch_cosine": -2.0})
    assert torch.equal(logits(changed), logits(built)) and changed.config == built.config
    set_inference(changed, {"patch_cosine": 0.0})
    assert (changed.config.picture_cosine, changed.config.patch_cosine) == (1.0, 0.0)
    with pytest.raises(UserError, match="patch_cosine=-1.0 needs decoder='masks' or 'two_frequency'"):
        set_inference(segmentor(decoder="linear", trunk="frozen"), {"patch_cosine": -1.0})
    with pytest.raises(UserError, match="inference_map='decoder' needs decoder='optimal_transport'"):
        set_inference(changed, {"inference_map": "decoder"})
    with pytest.raises(UserError, match="the model cannot have picture_cosine=nan: picture_cosine: "):
        set_inference(changed, {"picture_cosine": float("nan")})
    assert changed.config.picture_cosine == 1.0
