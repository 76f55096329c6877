"""Configurations refuse impossible values, and say why."""

import pytest
from pydantic import BaseModel, ValidationError

from cascade_core.configs.config import (
    DataConfig,
    EvalConfig,
    LossConfig,
    OptimConfig,
    RunConfig,
    SelfTrainConfig,
    TrainConfig,
)
from cascade_core.configs.model import ClipConfig, ModelConfig
from cascade_core.configs.recipes import recipe, recipe_names

CLIP = {
    "name": "small",
    "image_size": 24,
    "patch_size": 8,
    "width": 16,
    "layers": 4,
    "heads": 2,
    "embed_dim": 12,
    "text_width": 8,
    "text_layers": 1,
    "text_heads": 1,
    "context_length": 5,
    "vocab_size": 9,
}
MODEL = {"clip": CLIP, "image_size": 32, "decoder_heads": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": "none", "groups": [[0]]}, "'none' takes no group"),
        ({"fusion": "cascade", "groups": []}, "'cascade' and 'naive' need at least one"),
        ({"fusion": "naive", "groups": []}, "'cascade' and 'naive' need at least one"),
        ({"fusion": "cascade", "groups": [[0], [3]]}, r"name blocks outside 0\.\.2 of a 4-block CLIP"),
        ({"fusion": "cascade", "groups": [[-1]]}, r"name blocks outside 0\.\.2"),
        ({"fusion": "cascade", "groups": [[0, 1], [1]]}, "name a block twice"),
        ({"decoder_heads": 5}, "decoder_heads=5 must divide embed_dim=12"),
        ({"trunk": "deep_prompts", "num_prompts": 0}, "needs num_prompts >= 1; use trunk='frozen'"),
        ({"decoder": "linear", "fusion": "naive", "groups": [[0]]}, "use fusion='none'"),
        (
            {"decoder": "cosine", "fusion": "naive", "groups": [[0]]},
            "decoder='cosine' reads the last map only",
        ),
        ({"last_block": {"attention": "value"}}, "gives patches only, without prompts and CLS"),
        ({"decoder": "cosine", "last_block": {"residual": False}}, "use trunk='frozen'"),
        ({"last_block": {"attention": "kv"}}, "'vanilla', 'value', 'qq_kk', 'qq' or 'kk_neighbours'"),
        ({"last_block": {"sigma": 0}}, "greater than 0"),
        ({"temperature": 0}, "greater than 0"),
        ({"trunk": "thawed"}, "'frozen', 'deep_prompts' or 'spectral_prompts'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"head_init_std": 0}, "greater than 0"),
    ],
)
def test_an_impossible_model_is_refused_with_the_reason(changes: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelConfig.model_validate({**MODEL, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "cascade", "groups": [[0, 1], [2]]},
        {"fusion": "naive", "groups": [[2]]},
        {"trunk": "frozen", "num_prompts": 0},
        {"trunk": "frozen", "num_prompts": 0, "decoder": "linear"},
        {"trunk": "frozen", "decoder": "linear", "last_block": {"attention": "qq_kk"}},
        {"trunk": "frozen", "decoder": "cosine", "last_block": {"attention": "value", "residual": False}},
    ],
)
def test_every_valid_composition_of_trunk_and_decoder_is_allowed(changes: dict) -> None:
    config = ModelConfig.model_validate({**MODEL, **changes})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def test_accumulation_steps_must_divide_the_batch() -> None:
    with pytest.raises(ValidationError, match="accumulation_steps=3 must divide batch_size=8"):
        TrainConfig(iterations=10, batch_size=8, accumulation_steps=3)


def test_self_training_cannot_start_beyond_the_schedule() -> None:
    run = recipe(recipe_names()[0]).model_dump()
    run["self_train"]["start_iteration"] = run["train"]["iterations"] + 1
    with pytest.raises(ValidationError, match=r"start_iteration=\d+ lies beyond"):
        RunConfig.model_validate(run)


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (ClipConfig, CLIP),
        (ModelConfig, MODEL),
        (LossConfig, {}),
        (OptimConfig, {}),
        (DataConfig, {"protocol": "mini-18-6", "crop_size": 8}),
        (TrainConfig, {"iterations": 1, "batch_size": 1}),
        (SelfTrainConfig, {"iterations": 1, "start_iteration": 1, "batch_size": 1}),
        (EvalConfig, {}),
    ],
)
def test_an_unknown_key_is_refused_everywhere(model: type[BaseModel], values: dict) -> None:
    model.model_validate(values)
    with pytest.raises(ValidationError, match="learning_rat"):
        model.model_validate({**values, "learning_rat": 1})


def test_configurations_cannot_be_changed() -> None:
    config = LossConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.focal_weight = 1.0


@pytest.mark.parametrize("name", recipe_names())
def test_a_run_survives_json_unchanged(name: str) -> None:
    run = recipe(name)
    assert RunConfig.model_validate_json(run.model_dump_json()) == run


def test_the_published_values_are_the_defaults() -> None:
    optim, loss, evaluate = OptimConfig(), LossConfig(), EvalConfig()
    assert (optim.prompt_lr, optim.decoder_lr, optim.weight_decay) == (2e-4, 2e-4, 0.01)
    assert (optim.power, optim.min_lr, optim.warmup_iterations, optim.warmup_ratio) == (0.9, 1e-6, 1500, 1e-6)
    assert (loss.focal_weight, loss.dice_weight, loss.focal_alpha, loss.focal_gamma) == (100, 1, 0.25, 2)
    assert loss.ignored_as_negative
    assert (evaluate.crop_size, evaluate.stride, evaluate.short_side, evaluate.seen_penalty) == (
        512,
        426,
        512,
        0.1,
    )


def test_the_self_training_mode_of_earlier_manifests_is_read() -> None:
    mode = recipe("mini_zegclip").self_train
    stored = {**mode.model_dump(exclude={"mode"}), "protocol": "oracle"}
    assert SelfTrainConfig.model_validate(stored).mode == "oracle"
    with pytest.raises(ValueError, match="protocol is the old name of mode"):
        SelfTrainConfig.model_validate({**stored, "mode": "strict"})
