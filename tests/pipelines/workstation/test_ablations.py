"""Grids on this machine: which trainings they share, and the page that rows make."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade_core.configs.ablations import THEMES, cell_recipe, named_theme
from cascade_core.configs.recipes import recipe
from components.results.cell_chart import cell_chart
from components.results.picture_counts import CountsOfPictures
from pipelines.graphs.runner import Data
from pipelines.workstation import ablations
from pipelines.workstation.ablation_page import CellRow, ThemeResult, differences, index_page
from pipelines.workstation.ablations import BASES, Grid, chains_of, run, themes_for, unnamed, write_result
from pipelines.workstation.chain_plan import plans_of
from pipelines.workstation.chains import Chain
from pipelines.workstation.mini_results import folder_name

DATA = Data(**{name: Path(name) for name in ("prepared", "splits", "text", "clip")})


@pytest.fixture
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of configurations alone: there are no data folders."""

    def digest(config: object, _: object) -> str:
        return hashlib.sha256(repr(config).encode()).hexdigest()[:12]

    for module in ("ablations", "chains"):
        monkeypatch.setattr(f"pipelines.workstation.{module}.training_digest", digest)


def grid(name: str, **changes: object) -> Grid:
    theme = named_theme(name)
    values = {"base": BASES[theme.fusion], "overrides": {}, "seeds": [0, 1], "data": DATA, "work": Path("w")}
    return Grid(theme, **{**values, **changes})


@pytest.mark.usefixtures("_no_data")
def test_equal_cells_are_trained_once_and_shared_with_the_table() -> None:
    runs = [one for name in THEMES for one in grid(name).runs()]
    chains = chains_of(runs)
    assert len(runs) == 2 * sum(len(theme.cells) for theme in THEMES.values())
    configs = {
        unnamed(recipe(cell_recipe(BASES[theme.fusion], theme, cell), seed=seed)).model_dump_json(
            exclude={"evaluate": {"seen_penalty"}}
        )
        for theme in THEMES.values()
        for cell in theme.cells
        for seed in (0, 1)
    }
    assert len(chains) == len(configs) < len(runs)
    for plain in ("zegclip", "cascade_clip", "zegclip_no_rd", "decoder_ce", "baseline", "naive_fusion"):
        chain = Chain(f"mini_{plain}", 1, DATA)
        assert Path("w") / folder_name(chain) in chains
    with_penalties = [chain for chain in chains.values() if chain.penalties]
    assert {(chain.recipe, len(chain.penalties)) for chain in with_penalties} == {
        ("mini_zegclip", 6),
        ("mini_cascade_clip", 6),
    }


@pytest.mark.usefixtures("_no_data")
def test_only_cells_that_read_templates_get_their_vectors() -> None:
    by_template = replace(DATA, text=Path("by-template"))
    runs = {one.cell: one.chain.data for one in grid("otseg", by_template=by_template, seeds=[0]).runs()}
    assert runs == {
        "zegclip": DATA,
        "both": by_template,
        "decoder": by_template,
        "scores": by_template,
        "floor": DATA,
    }


@pytest.mark.usefixtures("_no_data")
def test_overrides_share_nothing_with_the_table() -> None:
    own = chains_of(list(grid("penalty_cascade", overrides={"train.iterations": 4}).runs()))
    assert {(chain.recipe, chain.overrides) for chain in own.values()} == {
        ("mini_cascade_clip:penalty_cascade.published", (("train.iterations", 4),))
    }
    assert grid("groups").cell_overrides()["late"] == {"model.groups": [[4, 5, 6]]}
    with pytest.raises(ValueError, match="take a ZegCLIP recipe"):
        list(grid("designs", base="mini_cascade_clip").runs())


@pytest.mark.usefixtures("_no_data")
def test_a_penalty_is_one_more_evaluation_of_the_same_model() -> None:
    runs = list(grid("penalty_zegclip", seeds=[3]).runs())
    (plan,) = plans_of(chains_of(runs), "test2")
    names = [ablations._model(one, plan).evaluation.name for one in runs]
    assert names[0] == "evaluate-inductive-test2"
    assert names[1:3] == ["evaluate-penalty_0-test2", "evaluate-penalty_0.05-test2"]
    assert len(set(names)) == len(runs) and len({model.model for model in plan.models}) == 1


def test_a_base_chooses_the_themes_that_fit_it() -> None:
    assert {theme.fusion for theme in themes_for((), "cascade_voc12")} == {"cascade"}
    assert len(themes_for((), None)) == len(THEMES)
    assert [theme.name for theme in themes_for(["sigma", "designs", "sigma"], None)] == ["sigma", "designs"]
    with pytest.raises(ValueError, match="theme of ablations"):
        themes_for(["sigme"], None)


def test_no_seed_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    places = {"work": tmp_path / "work", "results": tmp_path / "results"}
    with pytest.raises(ValueError, match="at least one seed"):
        run(
            themes=themes_for((), None), base=None, overrides={}, data=DATA, seeds=[], split="test2", **places
        )
    assert not any(tmp_path.iterdir())


def row(cell: str, seed: int, unseen: float) -> CellRow:
    return CellRow(
        cell=cell,
        method=f"sigma.{cell}",
        setting="inductive",
        split="test2",
        protocol="mini-18-6",
        seed=seed,
        pAcc=0.7,
        miou_seen=0.5,
        miou_unseen=unseen,
        hiou=unseen,
        trainable_params=1000,
        gmacs=0.03,
        images_per_second=100.0,
        made_from="commit x",
    )


def counts(unseen: float) -> CountsOfPictures:
    """Pixel counts of pictures with one seen class, all correct, and one unseen class, partly."""
    correct = np.array([100, round(100 * unseen)])
    one = np.stack([correct, correct, np.array([100, 100])])
    return CountsOfPictures(("a", "b", "c"), ("cat", "dog"), (1,), np.stack([one] * 3))


def result(scores: Callable[[str, int], float]) -> ThemeResult:
    theme = named_theme("sigma")
    keys = [(cell.name, seed) for cell in theme.cells for seed in (0, 1, 2)]
    rows = [row(cell, seed, scores(cell, seed)) for cell, seed in keys]
    return ThemeResult(
        theme="sigma",
        recipe="mini_cascade_clip",
        command="cascade-clip ablation sigma",
        split="test2",
        seeds=(0, 1, 2),
        overrides={cell.name: {"model.aggregation_sigma": 1.0} for cell in theme.cells},
        rows=tuple(rows),
        differences=tuple(differences(theme, rows, {key: counts(scores(*key)) for key in keys})),
    )


def test_the_page_states_differences_claims_and_their_words(tmp_path: Path) -> None:
    unseen = {"one": 0.5, "half": 0.3, "two": 0.5, "four": 0.6, "flat": 0.5}
    measured = result(lambda cell, seed: unseen[cell] + 0.01 * seed)
    page = write_result(measured, tmp_path)
    text = page.read_text()
    assert "Made from commit x." in text and "These are 3 comparisons" in text
    claims = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| a sigma of 1")}
    assert "hIoU 51.0 against 31.0 | +20.0 | +20.0 to +20.0 (3) |" in claims["| a sigma of 1 beats 0.5"]
    assert claims["| a sigma of 1 beats 0.5"].endswith("| holds |")
    assert claims["| a sigma of 1 beats 4"].endswith("| does not hold |")
    assert "| 0.5: almost the last level alone " in text and "-20.0" in text
    assert {path.name for path in tmp_path.iterdir()} == {
        "sigma.md",
        "sigma.json",
        "sigma.svg",
        "ablations.md",
    }
    assert ThemeResult.read(tmp_path / "sigma.json") == measured
    assert "[Sigma of the Gaussian](sigma.md) | a sigma of 1 beats 0.5 |" in index_page(tmp_path)


def test_without_an_interval_a_claim_cannot_be_told(tmp_path: Path) -> None:
    measured = result(lambda cell, seed: 0.5 if cell == "one" else 0.3)
    for changes in ({"pictures": None}, {"seeds": None}):
        bare = [one.model_copy(update=changes) for one in measured.differences]
        text = write_result(measured.model_copy(update={"differences": tuple(bare)}), tmp_path).read_text()
        assert text.count("| cannot be told |") == 3 and "| holds |" not in text


def test_equal_scores_draw_equal_charts_with_each_setting() -> None:
    scores = {score: [[0.5, 0.6], [0.4], []] for score in ("miou_seen", "miou_unseen", "hiou")}
    first, second = (cell_chart(["own", "shared", "none"], scores) for _ in range(2))
    assert first == second and all(f">{name}</text>" in first for name in ("own", "shared", "hIoU"))
