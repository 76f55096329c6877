"""The grids of the ablations: every cell is a recipe, on any base of its method."""

from collections import Counter

import pytest

from cascade_core.configs.ablations import THEMES, cell_recipe, cells_of
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe, trained_recipe_names
from cascade_core.configs.themes.theme import FLOOR, LAST_MAP, Theme
from components.results.names import SCORES

BASES = {
    "none": ("mini_zegclip", "zegclip_voc12", "zegclip_cocostuff"),
    "cascade": ("mini_cascade_clip", "cascade_voc12"),
}


def unnamed(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"recipe": "", "method": ""})


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_every_cell_is_a_recipe_and_no_two_are_equal(theme: Theme) -> None:
    for base in BASES[theme.fusion]:
        configs = [recipe(cell_recipe(base, theme, cell), seed=3) for cell in theme.cells]
        assert unnamed(configs[0]) == unnamed(recipe(base, seed=3))
        texts = Counter(
            (cell.mode, unnamed(config).model_dump_json())
            for cell, config in zip(theme.cells, configs, strict=True)
        )
        assert max(texts.values()) == 1, f"{base}: {theme.name} has equal cells"
        assert [config.method for config in configs] == [f"{theme.name}.{cell.name}" for cell in theme.cells]


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_claims_name_scores_and_cells_that_exist(theme: Theme) -> None:
    assert theme.score in SCORES and theme.claims
    for claim in theme.claims:
        assert claim.score in SCORES
        assert theme.cell(claim.better) != theme.cell(claim.worse)
    assert len({cell.label for cell in theme.cells}) == len({cell.name for cell in theme.cells})


def test_values_follow_the_base() -> None:
    mini, voc = (recipe(f"{base}:groups.three").model.groups for base in BASES["cascade"])
    assert mini == ((1, 2), (3, 4), (5, 6)) and voc == ((5, 6), (7, 8), (9, 10))
    assert recipe("zegclip_voc12:prompt_depth.half").model.prompt_depth == 6
    assert recipe("mini_zegclip:prompt_number.double").model.num_prompts == 16
    changed = recipe("mini_zegclip:prompt_number.double", {"model.num_prompts": 3, "train.iterations": 9})
    assert (changed.model.num_prompts, changed.train.iterations) == (6, 9)


def test_plain_recipes_are_cells_under_another_name() -> None:
    pairs = {
        "mini_zegclip:designs.none": "mini_baseline",
        "mini_zegclip:designs.prompts": "mini_decoder_ce",
        "mini_cascade_clip:sharing.naive": "mini_naive_fusion",
        "mini_cascade_clip:groups.last_map": "mini_zegclip",
    }
    for cell, plain in pairs.items():
        assert unnamed(recipe(cell)) == unnamed(recipe(plain))


def test_a_theme_among_recipes_stands_for_its_cells() -> None:
    names = cells_of(["mini_zegclip", "cascade_voc12:sigma", "mini_zegclip:designs.none"])
    assert names[0] == "mini_zegclip" and names[-1] == "mini_zegclip:designs.none"
    assert names[1:-1] == [f"cascade_voc12:sigma.{name}" for name in ("one", "half", "two", "four", "flat")]
    with pytest.raises(ValueError, match="compares modes of self-training, and a list of recipes has one"):
        cells_of(["mini_zegclip:self_training"])


OVERRIDES_OF_TRAINING = {
    "loss.distil_weight": 0.1,
    "train.vector_noise": 0.5,
    "model.picture_cosine": 1.0,
    "model.aggregation_sigma": 2.0,
    "model.decoders": "shared",
    "model.mid_projection_seed": 3,
    "model.prompt_depth": 2,
    "self_train.start_iteration": 7,
    "self_train.teacher": "training_free",
}


def test_every_theme_ends_with_a_floor_that_trains_nothing() -> None:
    for theme in THEMES.values():
        assert theme.cells == (*theme.settings, FLOOR)
    themes = {theme.fusion: theme for theme in THEMES.values()}
    for name in trained_recipe_names():
        if (theme := themes.get(recipe(name).model.fusion)) is not None:
            floor = recipe(cell_recipe(name, theme, FLOOR))
            assert not floor.model.trains and floor.model.text == "mean", name
    for key, value in OVERRIDES_OF_TRAINING.items():
        assert not recipe("mini_cascade_clip:sigma.floor", {key: value}).model.trains, key


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("mini_zegclip:sigme.one", "theme of ablations"),
        ("mini_cascade_clip:sigma.three", "cell of sigma"),
        (
            "mini_cascade_clip:sigma",
            "is a theme and no recipe; name a cell, such as mini_cascade_clip:sigma.one",
        ),
        ("mini_zegclip:sigma.one", "take a Cascade-CLIP recipe"),
        ("mini_cascade_clip:designs.all", "take a ZegCLIP recipe"),
        ("mini_zegclop:designs.all", "mini_zegclop"),
    ],
)
def test_names_that_do_not_fit_are_refused(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        recipe(name)


def test_the_last_map_alone_has_no_group() -> None:
    assert recipe("mini_cascade_clip", LAST_MAP).model.groups == ()


def test_self_trainings_change_nothing_that_their_training_reads() -> None:
    themes = [theme for theme in THEMES.values() if theme.without_self_training is not None]
    assert [theme.name for theme in themes] == ["self_training", "self_training_cascade"]
    for theme in themes:
        base = BASES[theme.fusion][0]
        for cell in theme.settings:
            config = recipe(cell_recipe(base, theme, cell))
            assert config.self_train.mode == (cell.mode or "oracle")
            # `ignored_as_negative` is of the loss; the training before the self-training keeps the published one.
            assert {key.partition(".")[0] for key in cell.changes} <= {"self_train", "loss"}
        assert [cell.name for cell in theme.cells if cell.mode is None] == ["inductive", "floor"]
