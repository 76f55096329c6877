"""The table over seeds: the trainings that it needs, and the page that it makes of rows."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.mini.zero_shot import ZeroShotAccuracy
from cascade_core.runtime.files import write_json
from components.results.intervals import Interval
from components.steps.pretrain import Pretrained
from pipelines.graphs.runner import Data
from pipelines.graphs.training import Measured
from pipelines.workstation.chains import Chain
from pipelines.workstation.mini_page import CLAIMS, MiniRow, claim_rows, collapses, head, page
from pipelines.workstation.mini_results import (
    CEILING,
    METHODS,
    PUBLISHED,
    TABLE_BEGIN,
    TABLE_END,
    chains,
    run,
    source_of,
)

FOLDERS = ("prepared", "splits", "text", "clip")


def row(method: str, setting: str, seed: int, unseen: float) -> MiniRow:
    return MiniRow(
        method=method,
        setting=setting,
        split="test",
        protocol="mini-18-6",
        seed=seed,
        pAcc=0.7,
        miou_seen=0.5,
        miou_unseen=unseen,
        hiou=2 * 0.5 * unseen / (0.5 + unseen),
        trainable_params=1000,
        gmacs=0.03,
        images_per_second=100.0,
        made_from="commit x",
    )


def every_row(*, with_descriptor: float, without: float) -> list[MiniRow]:
    runs = {claim.better for claim in CLAIMS} | {claim.worse for claim in CLAIMS}
    unseen = {("zegclip", "inductive"): with_descriptor, ("zegclip_no_rd", "inductive"): without}
    return [
        row(method, setting, seed, unseen.get((method, setting), 0.3))
        for method, setting in sorted(runs)
        for seed in (0, 1)
    ]


def test_every_method_has_all_seeds_and_published_ones_controls() -> None:
    data = Data(**{name: Path(name) for name in FOLDERS})
    planned = chains([0, 1, 2], data)
    assert len(set(planned)) == len(planned) == 3 * (len(METHODS) + 2 * len(PUBLISHED)) + len(LAST_BLOCKS)
    others = {chain for chain in planned if chain.random_tower or chain.overrides}
    plain = {(chain.recipe, chain.seed) for chain in planned if chain not in others}
    trained = {(f"mini_{method}", seed) for method in METHODS for seed in (0, 1, 2)}
    assert plain == trained | {(f"mini_{method}", 0) for method in LAST_BLOCKS}
    for kind in ({"random_tower": True}, {"overrides": CEILING}):
        of_kind = [Chain(f"mini_{method}", seed, data, **kind) for method in PUBLISHED for seed in (0, 1, 2)]
        assert set(of_kind) <= others


def test_ablations_have_five_seeds_and_published_methods_all() -> None:
    planned = chains(range(7), Data(**{name: Path(name) for name in FOLDERS}))
    seeds: dict[bool, set[int]] = {True: set(), False: set()}
    for chain in planned:
        seeds[bool(chain.self_trainings)].add(chain.seed)
    assert seeds == {True: set(range(7)), False: set(range(5))}


def test_a_claim_is_judged_by_the_interval_of_its_difference() -> None:
    above, below = ({CLAIMS[0]: Interval(sign * 0.1, sign * 0.1, sign * 0.1, 2)} for sign in (1, -1))
    better, worse = every_row(with_descriptor=0.4, without=0.3), every_row(with_descriptor=0.2, without=0.3)
    (holding, *_), (failing, *_), (unknown, *_) = (
        claim_rows(CLAIMS, better, above),
        claim_rows(CLAIMS, worse, below),
        claim_rows(CLAIMS, better, {}),
    )
    ends = "+10.0 to +10.0"
    assert holding.endswith(f"40.0 against 30.0 | +10.0 | {ends} (2) | {ends} | {ends} | holds |")
    assert "20.0 against 30.0 | -10.0" in failing and failing.endswith("| does not hold |")
    assert unknown.endswith(f"{ends} (2) | - | - | cannot be told |")


def test_the_page_shows_every_self_trained_seed() -> None:
    clip = Pretrained(ZeroShotAccuracy(0.912, 0.887, {}), ZeroShotAccuracy(0.071, 0.102, {}))
    text = page(every_row(with_descriptor=0.4, without=0.3), [0, 1], clip=clip, pictures={})
    assert "Made from commit x." in text
    ahead = next(claim for claim in CLAIMS if claim.is_of_methods)
    start = head(every_row(with_descriptor=0.4, without=0.3), {ahead: Interval(0.0, -0.01, 0.01, 2)})
    assert "on the test pictures, mean ± deviation over 2 seeds of the decoders" in start
    assert "From inductive ZegCLIP to Cascade-CLIP hIoU changes by -6.9 points (95 % interval" in start
    assert "| 91.2% | 88.7% |" in text and "| 7.1% | 10.2% |" in text and "on 473,600 pictures" in text
    for method in PUBLISHED:
        for setting in ("transductive_oracle", "transductive_strict"):
            for seed in (0, 1):
                assert f"| {method} | {setting} | {seed} |" in text


def test_collapsed_self_trainings_are_counted() -> None:
    rows = [row("zegclip", "inductive", 0, 0.3), row("zegclip", "transductive_strict", 0, 0.3)]
    strict = rows[1].model_copy(update={"hiou": 0.49 * rows[0].hiou})
    assert "transductive (strict) 1 of 1. The lowest hIoU is" in collapses([rows[0], strict])
    assert "transductive (strict) 0 of 1. The lowest hIoU is" in collapses(rows)
    assert collapses(rows[:1]) == ""


def test_a_readme_without_markers_is_refused_at_once(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n{TABLE_BEGIN}\n")
    missing = Data(**{name: tmp_path / name for name in FOLDERS})
    files = {"markdown": tmp_path / "mini.md", "rows_json": tmp_path / "mini.json"}
    with pytest.raises(ValueError, match=f"{TABLE_END} are missing"):
        run(data=missing, seeds=[0], split="test", work=tmp_path / "work", readme=readme, **files)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_clip_without_accuracies_is_refused_at_once(tmp_path: Path) -> None:
    missing = Data(**{name: tmp_path / name for name in FOLDERS})
    files = {"markdown": tmp_path / "mini.md", "rows_json": tmp_path / "mini.json"}
    with pytest.raises(ValueError, match=r"clip/accuracy\.json"):
        run(data=missing, seeds=[0], split="test", work=tmp_path / "work", **files)
    assert not any(tmp_path.iterdir())


def test_an_empty_list_of_seeds_is_refused(tmp_path: Path) -> None:
    missing = Data(**{name: tmp_path / name for name in FOLDERS})
    files = {"markdown": tmp_path / "mini.md", "rows_json": tmp_path / "mini.json"}
    with pytest.raises(ValueError, match="at least one seed"):
        run(data=missing, seeds=[], split="test", work=tmp_path / "work", **files)


def test_rows_of_another_call_name_their_own_source() -> None:
    clip = Pretrained(ZeroShotAccuracy(0.9, 0.9, {}), ZeroShotAccuracy(0.1, 0.1, {}))
    floor = row("naclip", "training_free", 0, 0.1).model_copy(update={"made_from": "commit y"})
    text = page([*every_row(with_descriptor=0.4, without=0.3), floor], [0, 1], clip=clip, pictures={})
    (line,) = (line for line in text.splitlines() if "Made from" in line)
    assert line.endswith("commit y: NACLIP.") and "commit x: " in line


def test_rows_are_kept_only_if_all_others_are_there(tmp_path: Path) -> None:
    missing = Data(**{name: tmp_path / name for name in FOLDERS})
    rows_json = tmp_path / "mini.json"
    measure = partial(
        run, data=missing, seeds=[0, 1], split="test", work=tmp_path / "work", markdown=tmp_path / "mini.md"
    )
    for methods, problem in (((), "names no method"), (("zegclop",), "'zegclop' is no method")):
        with pytest.raises(ValueError, match=problem):
            measure(rows_json=rows_json, methods=methods)
    with pytest.raises(ValueError, match=r"mini\.json does not exist"):
        measure(rows_json=rows_json, methods=LAST_BLOCKS)
    write_json(rows_json, [kept.model_dump() for kept in every_row(with_descriptor=0.4, without=0.3)][1:])
    with pytest.raises(ValueError, match="does not hold the rows of"):
        measure(rows_json=rows_json, methods=LAST_BLOCKS)
    write_json(rows_json, {"rows": 3})
    with pytest.raises(ValueError, match="holds no rows"):
        measure(rows_json=rows_json, methods=LAST_BLOCKS)
    assert [path.name for path in tmp_path.iterdir()] == ["mini.json"]


def test_a_row_names_the_commits_that_trained_and_scored_it(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = {Path("old"): f"{'a' * 40}-dirty", Path("new"): "b" * 40, Path("none"): None}
    monkeypatch.setattr(
        "pipelines.workstation.mini_results.read_step_manifest",
        lambda folder: SimpleNamespace(commit=commits[folder]),
    )

    def made_from(model: str, evaluation: str) -> str:
        return source_of(Measured(Path(model), Path(evaluation), Path("cost")), "data d")

    assert (
        made_from("old", "new")
        == f"trainings of commit {'a' * 12}-dirty, scored by commit {'b' * 12}, data d"
    )
    assert made_from("new", "new") == f"commit {'b' * 12}, data d"
    assert made_from("none", "none") == "commit unknown, data d"
