"""The table of mini-hard: what it trains, and the page that it makes of rows."""

from dataclasses import asdict
from pathlib import Path

import pytest

from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.training_free import LAST_BLOCKS
from cascade_core.mini.hard_world import DRAWN_WORLD, HARD_WORLD
from cascade_core.mini.voc_layout import write_benchmark
from cascade_core.mini.zero_shot import ZeroShotAccuracy
from cascade_core.runtime.files import write_json
from components.results.intervals import Interval
from components.steps.pretrain import ACCURACY_FILE, Pretrained
from pipelines.workstation.mini_hard import CLAIMS, ON_DRAWINGS, TWIN_PROTOCOL, page, run
from pipelines.workstation.mini_page import MiniRow

INDUCTIVE = ("zegclip", "inductive")
CLIP = Pretrained(ZeroShotAccuracy(0.912, 0.887, {}), ZeroShotAccuracy(0.1, 0.2, {}))


def row(setting: str, protocol: str = "mini-hard-38-12") -> MiniRow:
    return MiniRow(
        method="zegclip",
        setting=setting,
        split="val",
        protocol=protocol,
        seed=0,
        pAcc=0.5,
        miou_seen=0.4,
        miou_unseen=0.2,
        hiou=0.267,
        trainable_params=1000,
        gmacs=0.03,
        images_per_second=100.0,
        made_from="commit x",
    )


def test_the_page_names_what_was_changed_and_the_twin() -> None:
    rows, twin = (
        [row("inductive"), row("supervised")],
        [row("inductive", f"{TWIN_PROTOCOL} from mini-hard-38-12")],
    )
    text = page(rows, twin, [0], {"train.iterations": 300}, clip=CLIP, pictures={})
    command = "cascade-clip mini-hard-results --seeds 0 --split val --drawings FOLDER"
    assert f"`{command} --set train.iterations=300`" in text
    assert "changed trainings: `train.iterations=300`." in text and "Made from commit x." in text
    assert "fully supervised" in text and "seen 91.2%, unseen 88.7%" in text
    assert "| zegclip | 0 | 50.0 | 40.0 | 20.0 | 26.7 |" in text
    assert "| zegclip | mean | 50.0 | 40.0 | 20.0 | 26.7 |" in text
    assert (
        "| labels of all classes leave something to gain over the oracle (ZegCLIP) | hIoU undefined |" in text
    )
    plain = page(rows, [], [0], {}, clip=CLIP, pictures={})
    assert "changed trainings" not in plain and "scored on drawings" not in plain


def test_the_page_compares_the_oracle_with_strict() -> None:
    rows = [
        row(setting).model_copy(update={"seed": seed, "hiou": hiou + seed / 500})
        for setting, hiou in (("transductive_oracle", 0.5), ("transductive_strict", 0.4))
        for seed in (0, 1)
    ]
    (claim,) = (
        one for one in CLAIMS if one.better == ("zegclip", "transductive_oracle") and one.worse != INDUCTIVE
    )
    text = page(rows, [], [0, 1], {}, clip=CLIP, pictures={claim: Interval(0.1, 0.05, 0.15, 2)})
    ends = "+5.0 to +15.0"
    assert (
        f"| {claim.text} | hIoU 50.1 against 40.1 | +10.0 | +10.0 to +10.0 (2) | {ends} | {ends} | holds |"
        in text
    )


def test_models_on_drawings_are_compared_over_seeds() -> None:
    twin = [
        row("inductive", TWIN_PROTOCOL).model_copy(update={"method": method, "seed": seed, "hiou": hiou})
        for method, hiou in (("zegclip", 0.3), ("cascade_clip", 0.4))
        for seed in (0, 1)
    ]
    pictures = {ON_DRAWINGS[0]: Interval(0.1, 0.07, 0.13, 2)}
    text = page([row("inductive")], twin, [0, 1], {}, clip=CLIP, pictures=pictures)
    assert (
        "| hIoU 40.0 against 30.0 | +10.0 | +10.0 to +10.0 (2) | +7.0 to +13.0 | +7.0 to +13.0 | holds |"
        in text
    )


def test_a_table_without_seeds_or_clip_is_refused_at_once(tmp_path: Path) -> None:
    folders = {
        "raw": tmp_path,
        "drawings": None,
        "clip": tmp_path / "clip",
        "results": tmp_path,
        "work": tmp_path / "work",
    }
    with pytest.raises(ValueError, match="at least one seed"):
        run(**folders, seeds=[], split="val", overrides={})
    with pytest.raises(ValueError, match=r"clip/accuracy\.json"):
        run(**folders, seeds=[0], split="val", overrides={})
    (tmp_path / "clip").mkdir()
    write_json(tmp_path / "clip" / ACCURACY_FILE, asdict(CLIP))
    with pytest.raises(ValueError, match="--split vla: mini-hard is scored on val or test"):
        run(**folders, seeds=[0], split="vla", overrides={})
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


@pytest.mark.slow
def test_the_command_trains_all_settings_and_scores_the_twin(tmp_path: Path) -> None:
    for world in (HARD_WORLD, DRAWN_WORLD):
        write_benchmark(tmp_path / world.name, world=world, sizes=dict.fromkeys(world.image_sets, 2))
    save_clip(tmp_path / "clip", new_clip(HARD_WORLD.clip, seed=0), words=list(HARD_WORLD.words))
    write_json(tmp_path / "clip" / ACCURACY_FILE, asdict(CLIP))
    (tmp_path / "results").mkdir()
    rows = run(
        raw=tmp_path / "hard",
        drawings=tmp_path / "hard-drawn",
        clip=tmp_path / "clip",
        seeds=[0],
        split="val",
        overrides={"train.iterations": 2, "train.batch_size": 2, "self_train.batch_size": 2},
        work=tmp_path / "work",
        results=tmp_path / "results",
        workers=1,
    )
    settings = ["inductive", "transductive_oracle", "transductive_strict", "supervised"]
    assert [(row.method, row.setting) for row in rows] == [
        *((method, setting) for method in ("cascade_clip", "zegclip") for setting in settings),
        ("cat_seg", "inductive"),
        *((method, "training_free") for method in LAST_BLOCKS),
    ]
    page_text = (tmp_path / "results" / "mini_hard.md").read_text(encoding="utf-8")
    methods = ("zegclip", "cascade_clip", "cat_seg")
    assert [page_text.count(f"| {method} | 0 |") for method in methods] == [1, 1, 1]
