"""Grids on this machine: which trainings they share, and the page that rows make."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade_core.configs.ablations import THEMES, cell_recipe, cells_of, named_theme
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipes import recipe
from cascade_core.configs.settings import INFERENCE_SETTINGS
from cascade_core.configs.themes.candidates import AT_SCORING, TRAININGS
from cascade_core.configs.themes.scoring import PICTURE_COSINE
from cascade_core.errors import UserError
from cascade_core.runtime.files import write_json
from components.results.cell_chart import cell_chart
from components.results.picture_counts import CountsOfPictures
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.workstation import ablations
from pipelines.workstation.ablation_page import CellRow, ThemeResult, differences, index_page
from pipelines.workstation.ablations import BASES, Grid, chains_of, run, themes_for, unnamed, write_result
from pipelines.workstation.chain_plan import plans_of
from pipelines.workstation.chains import Chain
from pipelines.workstation.choice_page import choice_page
from pipelines.workstation.mini_results import MODES, folder_name

UNTRAINED = {"plus": ("cosines", "patch", "picture"), "otseg": ("decoder", "scores")}
"""Cells that nothing is trained for, by theme."""
UNTRAINED_FIELDS = {*INFERENCE_SETTINGS, "cosines_in_training"}
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


def with_splits(prepared: Path, *splits: str) -> Data[Path]:
    """Return the data with a folder of the prepare step that has these splits."""
    write_json(prepared / "summary.json", {"label_set": "mini24", "splits": {split: {} for split in splits}})
    return replace(DATA, prepared=prepared)


@pytest.mark.usefixtures("_no_data")
def test_equal_cells_are_trained_once_and_shared_with_the_table() -> None:
    themes = themes_for((), None)
    runs = [one for theme in themes for one in grid(theme.name).runs()]
    chains = chains_of(runs)
    assert len(runs) == 2 * sum(len(theme.cells) for theme in themes)
    configs = {
        unnamed(recipe(cell_recipe(BASES[theme.fusion], theme, cell), seed=seed)).model_dump_json(
            exclude={
                "evaluate": {"seen_penalty"},
                "model": UNTRAINED_FIELDS if cell.name in UNTRAINED.get(theme.name, ()) else set(),
            }
        )
        for theme in themes
        for cell in theme.cells
        if cell.mode is None  # a self-training starts from the base's training
        for seed in (0, 1)
    }
    assert len(chains) == len(configs) < len(runs)
    for plain in ("zegclip", "cascade_clip", "zegclip_no_rd", "decoder_ce", "baseline", "naive_fusion"):
        chain = Chain(f"mini_{plain}", 1, DATA)
        assert Path("w") / folder_name(chain) in chains
    with_scorings = [chain for chain in chains.values() if chain.scorings]
    assert {(chain.recipe, len(chain.scorings)) for chain in with_scorings} == {
        ("mini_zegclip", 6),
        ("mini_cascade_clip", 6 + len(UNTRAINED["plus"])),
        ("mini_otseg", len(UNTRAINED["otseg"])),
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
        (f"mini_cascade_clip:penalty_cascade.{cell}", (("train.iterations", 4),))
        for cell in ("published", "floor")
    }
    assert grid("groups").cell_overrides()["late"] == {"model.groups": [[4, 5, 6]]}
    with pytest.raises(ValueError, match="take a ZegCLIP recipe"):
        list(grid("designs", base="mini_cascade_clip").runs())


@pytest.mark.usefixtures("_no_data")
def test_a_penalty_is_one_more_evaluation_of_the_same_model() -> None:
    *runs, floor = grid("penalty_zegclip", seeds=[3]).runs()
    assert floor.cell == "floor" and floor.folder not in {one.folder for one in runs}
    (plan,) = plans_of(chains_of(runs), "test2")
    names = [ablations._model(one, plan).evaluation.name for one in runs]
    assert names[0] == "evaluate-inductive-test2"
    assert names[1:3] == ["evaluate-penalty_0-test2", "evaluate-penalty_0.05-test2"]
    assert len(set(names)) == len(runs) and len({model.model for model in plan.models}) == 1


@pytest.mark.usefixtures("_no_data")
def test_self_trainings_share_their_parent_with_the_table() -> None:
    own = grid("self_training_cascade", seeds=[3])
    runs = {one.cell: one for one in own.runs() if one.cell != "floor"}
    table = Chain("mini_cascade_clip", 3, DATA, self_trainings=MODES)
    folder = Path("w") / folder_name(table)
    ((shared, chain),) = chains_of(list(runs.values())).items()
    assert shared == folder and (chain.recipe, chain.overrides) == ("mini_cascade_clip", ())
    (plan,) = plans_of({shared: chain}, "test2")
    models = {cell: ablations._model(one, plan).model.relative_to(folder) for cell, one in runs.items()}
    (finished,) = plans_of({folder: table}, "test2")
    done = {model.model.relative_to(folder) for model in finished.models}
    assert done == {models[cell] for cell in ("inductive", "oracle", "strict")}
    assert len(set(models.values())) == len(runs) == len(own.theme.cells) - 1
    penalties = list(grid("penalty_cascade", seeds=[3]).runs())[:-1]
    ((_, joint),) = chains_of([*runs.values(), *penalties]).items()
    (plan,) = plans_of({shared: joint}, "test2")
    names = [ablations._model(one, plan).evaluation.name for one in penalties]
    assert names[:2] == ["evaluate-inductive-test2", "evaluate-penalty_0-test2"]
    assert ablations._model(runs["ema"], plan).model == folder / models["ema"]


@pytest.mark.usefixtures("_no_data")
def test_a_self_training_gets_the_overrides_of_its_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {}

    def planned(run: object, data: object, start: Measured[Path], **options: Any) -> Measured[Path]:
        calls[str(run.folder)] = (start.model, options["mode"], options["overrides"])
        return start

    monkeypatch.setattr("pipelines.workstation.chains.self_train_and_score", planned)
    own = grid("self_training", seeds=[3], overrides={"train.iterations": 4})
    folder, chain = next(iter(chains_of(list(own.runs())).items()))
    plans_of({folder: chain}, "test2")
    assert {start for start, *_ in calls.values()} == {folder / "train"}
    settings = [{k: v for k, v in values.items() if k != "train.iterations"} for *_, values in calls.values()]
    changes = [dict(cell.changes) for cell in own.theme.cells if cell.mode is not None]
    assert settings == changes and all(values["train.iterations"] == 4 for *_, values in calls.values())
    assert [mode for _, mode, _ in calls.values()] == ["oracle"] + ["strict"] * (len(changes) - 1)


def test_extra_pictures_are_there_and_never_scored(tmp_path: Path) -> None:
    data = with_splits(tmp_path, "train", "val")
    with pytest.raises(UserError, match="trains on the pictures of val, so it cannot be scored"):
        grid("self_training", data=data).check("val")
    extra = {"self_train.extra_splits": ["val"]}
    with pytest.raises(UserError, match="trains on the pictures of val, so it cannot be scored"):
        grid("self_training", data=data, overrides=extra).check("val")
    with pytest.raises(UserError, match=r"has no split 'test', only train, val; name one of these"):
        grid("self_training", data=data).check("train")
    with pytest.raises(UserError, match=r"--split: .* has no split 'tset2', only train, val"):
        grid("sigma", data=data).check("tset2")
    grid("sigma", data=data).check("val")


@pytest.mark.usefixtures("_no_data")
def test_cosines_without_training_are_evaluations_of_the_base() -> None:
    runs = list(grid("plus", seeds=[3]).runs())
    plan = next(one for one in plans_of(chains_of(runs), "test2") if one.chain.recipe == "mini_cascade_clip")
    by_cell = {one.cell: ablations._model(one, plan) for one in runs if one.folder == plan.folder}
    assert set(by_cell) == {"base", *UNTRAINED["plus"]}
    expected = f"evaluate-picture_cosine_{PICTURE_COSINE:g}_patch_cosine_0-test2"
    assert by_cell["picture"].evaluation.name == expected
    assert len({model.model for model in by_cell.values()}) == 1


@pytest.mark.usefixtures("_no_data")
def test_maps_of_otseg_are_evaluations_of_one_training() -> None:
    runs = {one.cell: one for one in grid("otseg", seeds=[3], by_template=DATA).runs()}
    (plan,) = plans_of({runs["both"].folder: chains_of(list(runs.values()))[runs["both"].folder]}, "test2")
    names = [ablations._model(runs[cell], plan).evaluation.name for cell in ("both", *UNTRAINED["otseg"])]
    assert names == ["evaluate-inductive-test2"] + [
        f"evaluate-inference_map_{cell}-test2" for cell in UNTRAINED["otseg"]
    ]


def test_a_base_chooses_the_themes_that_fit_it() -> None:
    assert {theme.fusion for theme in themes_for((), "cascade_voc12")} == {"cascade"}
    assert {*THEMES} - {theme.name for theme in themes_for((), None)} == {"candidates", "finalists"}
    assert [theme.name for theme in themes_for(["sigma", "designs", "sigma"], None)] == ["sigma", "designs"]
    with pytest.raises(ValueError, match="theme of ablations"):
        themes_for(["sigme"], None)


@pytest.mark.usefixtures("_no_data")
def test_choices_know_validation_pictures_and_seen_classes_alone(tmp_path: Path) -> None:
    own = grid(
        "candidates", overrides={"data.protocol": "mini-13-5a"}, seeds=[3], data=with_splits(tmp_path, "val")
    )
    own.check("val")
    with pytest.raises(ValueError, match="on validation pictures alone, not on test2; give --split val"):
        own.check("test2")
    with pytest.raises(
        ValueError, match="protocol mini-18-6 has taxi, tiger, mushroom, onion, sand, lava: give one"
    ):
        grid("candidates").check("val")
    file = tmp_path / "held_out.yaml"
    file.write_text("parent: mini_cascade_clip\ndata: {protocol: mini-13-5a}\n")
    with pytest.raises(ValueError, match="leave there the protocol whose unseen classes count in the end"):
        replace(own, base=str(file), overrides={}).check("val")
    chains = chains_of(list(own.runs())).values()
    assert [len(chain.scorings) for chain in chains] == [len(AT_SCORING), *(0 for _ in TRAININGS), 0]
    assert {named(chain).data.protocol for chain in chains} == {"mini-13-5a"}
    with pytest.raises(ValueError, match="run `cascade-clip ablation candidates`"):
        cells_of(["mini_cascade_clip:candidates"])


def named(chain: Chain) -> RunConfig:
    return recipe(chain.recipe, dict(chain.overrides), seed=chain.seed)


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
    unseen = {"one": 0.5, "half": 0.3, "two": 0.5, "four": 0.6, "flat": 0.5, "floor": 0.2}
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


def test_the_page_names_trainings_that_failed(tmp_path: Path) -> None:
    measured = result(lambda cell, seed: 0.1 if (cell, seed) == ("two", 1) else 0.5)
    text = write_result(measured, tmp_path).read_text()
    assert "Of 2, seed 1 has a hIoU of 10.0, less than half of the median 50.0" in text
    assert text.count("this training failed") == 1


def test_pages_of_another_protocol_have_its_name(tmp_path: Path) -> None:
    own = result(lambda cell, seed: 0.5)
    held_out = tuple(one.model_copy(update={"protocol": "mini-13-5a"}) for one in own.rows)
    page = write_result(own.model_copy(update={"rows": held_out}), tmp_path)
    assert page.name == "sigma-mini-13-5a.md"
    assert "[sigma-mini-13-5a.json](sigma-mini-13-5a.json)" in page.read_text()
    assert "(sigma-mini-13-5a.svg)" in page.read_text() and (tmp_path / "sigma-mini-13-5a.svg").is_file()
    assert "sigma" not in index_page(tmp_path), "the index has the pages of the recipes' own protocols"


def test_a_choice_is_made_over_the_protocols_of_a_folder(tmp_path: Path) -> None:
    theme = named_theme("finalists")
    for protocol, gains in (("mini-13-5a", (0.02, 0.03)), ("mini-13-5b", (0.04, 0.03))):
        rows = [
            row(cell.name, seed, 0.5 + gains[seed] * (cell.name == "noise")).model_copy(
                update={"protocol": protocol}
            )
            for cell in theme.cells
            for seed in (0, 1)
        ]
        own = ThemeResult(
            theme="finalists",
            recipe="mini_cascade_clip",
            command="cascade-clip ablation finalists",
            split="val",
            seeds=(0, 1),
            overrides={cell.name: {} for cell in theme.cells},
            rows=tuple(rows),
            differences=(),
        )
        write_result(own, tmp_path)
    text = (tmp_path / "finalists.md").read_text()
    assert "Of [finalists-mini-13-5a](finalists-mini-13-5a.md), [finalists-mini-13-5b]" in text
    assert "| noise on class vectors, half their length | 4 | 53.0 | +3.0 | +1.7 to +4.3 |" in text
    assert "It chooses **noise on class vectors, half their length**." in text
    for file in tmp_path.glob("finalists-*.json"):
        own = ThemeResult.read(file)
        uneven = [one.model_copy(update={"hiou": 0.5}) for one in own.rows if one.cell != "noise"]
        gains = (0.10, -0.08) if file.stem.endswith("a") else (0.09, -0.07, 0.2)
        noisy = [row("noise", seed, 0.5 + gain) for seed, gain in enumerate(gains)]
        changed = {
            "rows": tuple(
                uneven + [one.model_copy(update={"protocol": own.rows[0].protocol}) for one in noisy]
            )
        }
        write_result(own.model_copy(update=changed), tmp_path)
    text = (tmp_path / "finalists.md").read_text()
    assert "| noise on class vectors, half their length | 4 | 51.0 | +1.0 |" in text
    assert "It chooses nothing." in text
    other = own.model_copy(update={"recipe": "plus_mini"})
    (tmp_path / "finalists-x.json").write_text(other.model_dump_json())
    with pytest.raises(
        UserError, match=r"finalists-x\.json is of recipe plus_mini on val, not of mini_cascade_clip on val"
    ):
        choice_page(tmp_path, theme, "mini_cascade_clip", "val")


def test_without_an_interval_a_claim_cannot_be_told(tmp_path: Path) -> None:
    measured = result(lambda cell, seed: 0.5 if cell == "one" else 0.3)
    for changes in ({"pictures": None}, {"seeds": None}):
        bare = [one.model_copy(update=changes) for one in measured.differences]
        text = write_result(measured.model_copy(update={"differences": tuple(bare)}), tmp_path).read_text()
        assert text.count("| cannot be told |") == 3 and "| holds |" not in text


def test_the_page_counts_self_trainings_that_collapse(tmp_path: Path) -> None:
    theme = named_theme("self_training")
    unseen = {"inductive": 0.6, "ema": 0.35, "c9": 0.29}
    keys = [(cell.name, seed) for cell in theme.cells for seed in (0, 1)]
    rows = [row(cell, seed, unseen.get(cell, 0.7) - 0.02 * seed) for cell, seed in keys]
    measured = ThemeResult(
        theme=theme.name,
        recipe="mini_zegclip",
        command="cascade-clip ablation self_training",
        split="test2",
        seeds=(0, 1),
        overrides=grid("self_training").cell_overrides(),
        rows=tuple(rows),
        differences=(),
    )
    text = write_result(measured, tmp_path).read_text()
    assert (
        "below 50% of the hIoU of the same seed with no self-training. Of 24 self-trainings 2 collapsed"
        in text
    )
    assert "| strict, scores of at least 0.9 | 2 of 2 | 27.0 | 1 | 58.0 |" in text
    assert "| strict, averaged teacher | 0 of 2 | 33.0 | 1 | 58.0 |" in text
    assert "`self_train.mode=strict`, `self_train.teacher=ema`" in text and "self-train --trained" in text
    assert "Collapses" not in write_result(result(lambda *_: 0.5), tmp_path).read_text()


def test_equal_scores_draw_equal_charts_with_each_setting() -> None:
    scores = {score: [[0.5, 0.6], [0.4], []] for score in ("miou_seen", "miou_unseen", "hiou")}
    first, second = (cell_chart(["own", "shared", "none"], scores) for _ in range(2))
    assert first == second and all(f">{name}</text>" in first for name in ("own", "shared", "hIoU"))
