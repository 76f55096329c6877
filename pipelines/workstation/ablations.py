"""Run themes of ablations: train every cell with every seed, side by side, and write a page, its rows and a chart for each theme.

Folders are named by a digest of configuration and data, and cells that are equal share a folder, also with the mini table: an
interrupted call resumes, and no training is done twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from cascade_core.configs.ablations import THEMES, cell_overrides, cell_recipe, named_theme
from cascade_core.configs.config import RunConfig
from cascade_core.configs.recipe_file import is_recipe_file
from cascade_core.configs.recipes import reads_templates, recipe_names
from cascade_core.configs.recipes import recipe as named_recipe
from cascade_core.configs.themes.theme import Cell, Theme
from cascade_core.errors import UserError
from cascade_core.runtime.files import new_file, write_json
from cascade_core.runtime.targets import check_gathering_folder, writable_file
from components.artifacts.manifest import input_hash
from components.results.picture_counts import read_counts
from components.steps import text_vectors
from components.vectors.vector_files import has_templates
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.workstation.ablation_page import (
    INDEX,
    CellRow,
    ThemeResult,
    chart,
    differences,
    file_stem,
    index_page,
    page,
)
from pipelines.workstation.chain_plan import ChainPlan, outlook, plans_of
from pipelines.workstation.chains import (
    Chain,
    FolderRunner,
    Scoring,
    SelfTraining,
    run_untracked,
    training_digest,
)
from pipelines.workstation.choice_page import choice_page, protocol_results
from pipelines.workstation.mini_intervals import drop_uncounted
from pipelines.workstation.mini_page import MiniRow
from pipelines.workstation.mini_results import folder_name, provenance_of, require_folder, source_of
from pipelines.workstation.reproduction import digest_of

BASES = {"none": "mini_zegclip", "cascade": "mini_cascade_clip"}
"""The recipe of a theme, by its fusion, unless one is stated."""
VALIDATION = "val"
"""The split of pictures for choices."""


@dataclass(frozen=True)
class CellRun:
    """A cell with one seed: the folder and chain of its training, its settings of inference if they are not the training's own, and its self-training."""

    cell: str
    seed: int
    folder: Path
    chain: Chain
    scoring: Scoring | None
    self_training: SelfTraining | None = None


@dataclass(frozen=True)
class Grid:
    """A theme on a base recipe with overrides of it, over seeds on some data; `by_template` for cells that read each template's vectors."""

    theme: Theme
    base: str
    overrides: Mapping[str, Any]
    seeds: Sequence[int]
    data: Data[Path]
    work: Path
    by_template: Data[Path] | None = None

    def runs(self) -> Iterator[CellRun]:
        """Yield the runs of all cells.

        Raises:
            UserError: the base does not fit the theme, or a cell does not fit the base.
        """
        shared = {} if self.overrides else _plain_recipes()
        for cell in self.theme.cells:
            for seed in self.seeds:
                yield self._run(cell, seed, shared)

    def _run(self, cell: Cell, seed: int, shared: Mapping[str, str]) -> CellRun:
        base = named_recipe(self.base, self.overrides, seed=seed)
        # A self-training starts from the base's training, which knows nothing of its settings.
        name = self.base if cell.mode is not None else cell_recipe(self.base, self.theme, cell)
        config = named_recipe(name, self.overrides, seed=seed)
        training, scoring = unnamed(config), None
        # A plain recipe has its own scoring, unless training knows nothing of its cosines; what trains nothing shares no training.
        own = _key(training) in shared and config.model.cosines_in_training != 0
        if config.model.trains and not own:
            training, scoring = as_trained(training, base)
        data = self.by_template or self.data if config.model.reads_templates else self.data
        plain = shared.get(_key(training))
        if plain is not None:
            chain = Chain(plain, seed, data)
            folder = self.work / folder_name(chain)
        else:
            chain = Chain(name, seed, data, overrides=tuple(self.overrides.items()))
            stem = base.recipe.removeprefix("mini_")
            folder = self.work / f"{stem}-cell-s{seed}-{training_digest(training, data)}"
        return CellRun(cell.name, seed, folder, chain, scoring, self._self_training(cell))

    def _self_training(self, cell: Cell) -> SelfTraining | None:
        """Return the self-training of a cell, with what it changes in the configuration of the training before it."""
        if cell.mode is None:
            return None
        changes = self.cell_overrides()[cell.name]
        return SelfTraining(
            cell.mode, tuple((key, value) for key, value in changes.items() if key != "self_train.mode")
        )

    def check(self, split: str) -> None:
        """Check that a theme for choices reads nothing of unseen classes, and that the extra pictures of self-trainings exist and are not those to be scored.

        Raises:
            UserError: the theme is for choices, and `split` is none for them or a candidate is an unseen class; or it
                takes the pictures of `split`, or of a split that the prepared data lack.
        """
        from cascade_core.data.prepared import check_splits  # slow to import

        if self.theme.for_choices:
            self._check_choice(split)
        extra = {
            name
            for cell in self.theme.cells
            if cell.mode is not None
            for name in named_recipe(
                cell_recipe(self.base, self.theme, cell), self.overrides
            ).self_train.extra_splits
        }
        prepared = require_folder(self.data.prepared)
        check_splits(prepared, [split], use="--split")
        if split in extra:
            raise UserError(
                f"theme {self.theme.name} trains on the pictures of {split}, so it cannot be scored on them; give "
                "--split with the name of another split"
            )
        check_splits(
            prepared, sorted(extra), use=f"theme {self.theme.name}, which takes pictures without their labels"
        )

    def _check_choice(self, split: str) -> None:
        if split != VALIDATION:
            raise UserError(
                f"theme {self.theme.name} is for choices, so it is scored on validation pictures alone, not on {split}; "
                f"give --split {VALIDATION}"
            )
        usual, own = (named_recipe(self.base, changes).data.split for changes in ({}, self.overrides))
        if unseen := [name for name in own.classes if name in usual.unseen_names]:
            if usual == own and is_recipe_file(self.base):
                raise UserError(
                    f"theme {self.theme.name} is for choices, and needs the recipe's own protocol beside the one that holds out seen classes; "
                    f"{self.base} has one alone, {own.name}: leave there the protocol whose unseen classes count in the end, "
                    "and give the other with --set data.protocol=PROTOCOL"
                )
            raise UserError(
                f"theme {self.theme.name} is for choices, which must know no unseen class of {usual.name}; protocol "
                f"{own.name} has {', '.join(unseen)}: give one that holds out seen classes, such as --set "
                "data.protocol=mini-13-5a, and --outputs made with it (docs/ablations.md)"
            )

    def cell_overrides(self) -> dict[str, dict[str, Any]]:
        """Return what each cell changes in the base, by its name."""
        base = named_recipe(self.base, self.overrides)
        names = ("recipe", "method")
        return {
            cell.name: {
                key: value
                for key, value in cell_overrides(f"{self.theme.name}.{cell.name}", base).items()
                if key not in names
            }
            for cell in self.theme.cells
        }


def as_trained(config: RunConfig, base: RunConfig) -> tuple[RunConfig, Scoring | None]:
    """Return the configuration of a cell's training, and what its scoring changes in the trained model, if anything.

    Cells with equal trainings share one: a seen penalty, OTSeg's map of inference, and cosines of which the training does not know
    count at inference alone.
    """
    own, usual = config.evaluate.seen_penalty, base.evaluate.seen_penalty
    evaluate = config.evaluate.model_copy(update={"seen_penalty": usual})
    model, weights = config.model, {}
    if model.cosines_in_training == 0:
        weights = {name: getattr(model, name) for name in ("picture_cosine", "patch_cosine")}
        model = model.model_copy(update={**dict.fromkeys(weights, 0.0), "cosines_in_training": 1.0})
    inference_map = None if model.inference_map == "both" else model.inference_map
    model = model.model_copy(update={"inference_map": "both"})
    scoring = Scoring(seen_penalty=None if own == usual else own, inference_map=inference_map, **weights)
    training = config.model_copy(update={"evaluate": evaluate, "model": model})
    return training, scoring if scoring.options else None


def unnamed(config: RunConfig) -> RunConfig:
    """Return a configuration without the names of its recipe and method, which change no number."""
    return config.model_copy(update={"recipe": "", "method": ""})


def _plain_recipes() -> dict[str, str]:
    """Return the plain recipes by their configuration: their models lie where the mini table has them."""
    return {_key(unnamed(named_recipe(name))): name for name in recipe_names()}


def _key(config: RunConfig) -> str:
    """Return a text that is equal for configurations that differ in the seed alone."""
    return config.model_copy(update={"seed": 0}).model_dump_json()


def chains_of(runs: Sequence[CellRun]) -> dict[Path, Chain]:
    """Join runs of one training: its chain has the scorings and self-trainings of all."""
    chains: dict[Path, Chain] = {}
    for run in runs:
        chain = chains.setdefault(run.folder, run.chain)
        if run.scoring is not None and run.scoring not in chain.scorings:
            chain = chains[run.folder] = replace(chain, scorings=(*chain.scorings, run.scoring))
        own = run.self_training
        if own is not None and own not in chain.self_trainings:
            chains[run.folder] = replace(chain, self_trainings=(*chain.self_trainings, own))
    return chains


def themes_for(names: Sequence[str], base: str | None) -> list[Theme]:
    """Return the themes of these names; without names all that are not for choices, or those that fit the base recipe.

    Raises:
        UserError: a name or the base is unknown.
    """
    if names:
        return [named_theme(name) for name in dict.fromkeys(names)]
    fusion = None if base is None else named_recipe(base).model.fusion
    return [theme for theme in THEMES.values() if not theme.for_choices and fusion in (None, theme.fusion)]


def run(
    *,
    themes: Sequence[Theme],
    base: str | None,
    overrides: Mapping[str, Any],
    data: Data[Path],
    seeds: Sequence[int],
    split: str,
    work: Path,
    results: Path,
    workers: int | None = None,
    dry_run: bool = False,
) -> list[Path]:
    """Run themes one after the other; write `THEME.md`, `.json` and `.svg` of each and the index; return the pages.

    The names of a theme's files end with the protocol if that is not the base's own, as in `candidates-mini-13-5a.md`.

    First print how many trainings are left and how long they take; with `dry_run` do no more, and return nothing.

    Raises:
        UserError: no seed is given, the base does not fit a theme, a file or `work` is not to be written, or a step refuses its input.
    """
    if not seeds:
        raise UserError("ablation needs at least one seed, such as --seeds 0,1,2,3,4")
    check_gathering_folder(work)
    on_bases = [(theme, base or BASES[theme.fusion]) for theme in themes]
    for theme, recipe in on_bases:
        stem = file_stem(theme.name, recipe, named_recipe(recipe, overrides).data.protocol)
        writable_file(results / f"{stem}.md")
        if theme.for_choices:
            writable_file(results / f"{theme.name}.md")
            protocol_results(results, theme, recipe, split, without=stem)
    grids = [_grid(theme, recipe, overrides, seeds, data, work, split) for theme, recipe in on_bases]
    runs = {grid.theme.name: list(grid.runs()) for grid in grids}
    for name, own in runs.items():
        print(f"{name}: {outlook(plans_of(chains_of(own), split), workers)}")
    every = plans_of(chains_of([one for own in runs.values() for one in own]), split)
    print(f"together: {outlook(every, workers)}; finished steps in {work} are kept")
    if dry_run:
        return []
    provenance = provenance_of(data)
    pages = []
    for grid in grids:
        command = _command(grid, base, split)
        result = _measured(grid, runs[grid.theme.name], split, workers, provenance, command)
        pages.append(write_result(result, results))
    return pages


def _grid(
    theme: Theme,
    base: str,
    overrides: Mapping[str, Any],
    seeds: Sequence[int],
    data: Data[Path],
    work: Path,
    split: str,
) -> Grid:
    """Return the grid of a theme that may be scored on a split; make the vectors of single templates if its cells read them and the text folder lacks them.

    They get a folder of their own in `work`, so that the other cells keep the trainings that they share with other pages.
    """
    grid = Grid(theme, base, overrides, seeds, data, work)
    grid.check(split)
    cells = [cell_recipe(base, theme, cell) for cell in theme.cells]
    if not reads_templates(cells, overrides) or has_templates(require_folder(data.text)):
        return grid
    config = named_recipe(base, overrides)
    protocol, templates = config.data.protocol, config.data.templates
    background = config.evaluate.background.names
    key = digest_of(protocol, *templates, "", *background, input_hash(require_folder(data.clip)))
    text = FolderRunner(work / f"texts-{key}")(
        text_vectors.run,
        data,
        protocol=protocol,
        templates=templates,
        background=background,
        by_template=True,
    )
    return replace(grid, by_template=replace(data, text=text))


def write_result(result: ThemeResult, folder: Path) -> Path:
    """Write the page, the rows and the chart of a theme, and the index of all themes in the folder; return the page.

    Of a theme for choices also write the page over all protocols in the folder.
    """
    write_json(folder / f"{result.stem}.json", result.model_dump(mode="json"))
    texts = {f"{result.stem}.svg": chart(result), f"{result.stem}.md": page(result)}
    theme = THEMES[result.theme]
    if theme.for_choices and result.stem != theme.name:
        texts[f"{theme.name}.md"] = choice_page(folder, theme, result.recipe, result.split)
    for name, text in (*texts.items(), (INDEX, index_page(folder))):
        with new_file(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return folder / f"{result.stem}.md"


def _measured(
    grid: Grid, runs: Sequence[CellRun], split: str, workers: int | None, provenance: str, command: str
) -> ThemeResult:
    """Run what is left of a theme, and read its scores."""
    chains = chains_of(runs)
    if old := drop_uncounted(plans_of(chains, split)):
        print(f"{old} evaluations of an earlier version have no pixel counts, and are made again")
    run_untracked(chains, split=split, workers=workers)
    plans = {plan.folder: plan for plan in plans_of(chains, split)}
    models = {(one.cell, one.seed): _model(one, plans[one.folder]) for one in runs}
    rows = [
        CellRow.model_validate(
            {
                **MiniRow.read(model.evaluation, model.cost).model_dump(),
                "cell": cell,
                "method": f"{grid.theme.name}.{cell}",
                "made_from": source_of(model, provenance),
            }
        )
        for (cell, _), model in models.items()
    ]
    counts = {key: read_counts(model.evaluation) for key, model in models.items()}
    known = {key: own for key, own in counts.items() if own is not None}
    base = named_recipe(grid.base, grid.overrides)
    return ThemeResult(
        theme=grid.theme.name,
        recipe=grid.base,
        command=command,
        split=split,
        seeds=tuple(grid.seeds),
        overrides={name: _differing(own, base) for name, own in grid.cell_overrides().items()},
        rows=tuple(rows),
        differences=tuple(differences(grid.theme, rows, known)),
    )


def _differing(changes: Mapping[str, Any], base: RunConfig) -> dict[str, Any]:
    """Return the changes whose value differs from the base's, as JSON values: those that a page shows."""
    plain = {
        key: (to_jsonable_python(value), to_jsonable_python(reduce(getattr, key.split("."), base)))
        for key, value in changes.items()
    }
    return {key: value for key, (value, before) in plain.items() if value != before}


def _model(run: CellRun, plan: ChainPlan) -> Measured[Path]:
    """Return the model of a run, with the evaluation of its own scoring; `run_chain` states their order."""
    own, chain = run.self_training, plan.chain
    if own is not None:
        return plan.models[1 + chain.self_trainings.index(own)]
    if run.scoring is None:
        return plan.models[0]
    return plan.models[1 + len(chain.self_trainings) + chain.scorings.index(run.scoring)]


def _command(grid: Grid, base: str | None, split: str) -> str:
    """Return the command that makes the page."""
    recipe = [] if base is None else [f"--recipe {base}"]
    changes = [f"--set {key}={value}" for key, value in grid.overrides.items()]
    seeds = ",".join(map(str, grid.seeds))
    return " ".join(
        ["cascade-clip ablation", grid.theme.name, *recipe, *changes, f"--seeds {seeds}", f"--split {split}"]
    )
