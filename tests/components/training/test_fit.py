"""The train, self-train, evaluate and profile steps on small pictures of the mini benchmark."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade_core.checkpoints.checkpoint import load_segmentor
from cascade_core.checkpoints.manifest import load_manifest
from cascade_core.clip.weights import new_clip, save_clip
from cascade_core.configs.backbones import MINI_CLIP
from cascade_core.errors import UserError
from cascade_core.mini.vocabulary import WORDS
from cascade_core.runtime.files import new_folder, read_json, write_json
from components.artifacts.manifest import input_hash, read_step_manifest, write_manifest
from components.results.picture_counts import read_counts
from components.results.picture_files import read_kept, read_pictures
from components.steps import evaluate, prepare, profile, self_train, train
from components.training import work_folder
from components.training.resume_checkpoints import NEWEST
from components.vectors.vector_files import check_templates
from tests.components.conftest import RECIPE, SHORT, Folders, interrupt_after, write_earlier
from tests.components.same_training import check_same_training


def trained(folders: Folders, out: Path, **changes: Any) -> train.Trained:
    arguments = {
        **folders.steps,
        "clip": folders.clip,
        "recipe": RECIPE,
        "overrides": SHORT,
        "seed": 0,
        "out": out,
        **changes,
    }
    return train.run(**arguments)


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def inductive(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "cascade_clip"
    trained(folders, out)
    return out


def test_training_changes_prompts_and_decoder_but_not_clip(folders: Folders, inductive: Path) -> None:
    half, final = (load_file(inductive / name / "model.safetensors") for name in ("half", "final"))
    changed = {name for name in final if not torch.equal(half[name], final[name])}
    assert any(name.startswith("trunk.prompts.") for name in changed)
    assert any(name.startswith("decoder.stages.") for name in changed)
    assert {"decoder.group_weights.0", "decoder.group_weights.1"} <= changed
    assert not any(name.startswith(("trunk.visual.", "decoder.mid.")) for name in changed)
    assert not any("unused_" in name for name in changed)


def test_a_run_is_decided_by_its_seed(folders: Folders, inductive: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    trained(folders, again)
    trained(folders, other, seed=1)
    check_same_training(inductive, again)
    assert (other / "history.csv").read_text() != (inductive / "history.csv").read_text()


def test_a_resumed_training_equals_an_uninterrupted_one(
    folders: Folders, inductive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cascade_clip"
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            trained(folders, out)
    assert not out.exists()
    trained(folders, out)
    check_same_training(inductive, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cascade_clip"]


def test_dropout_draws_the_same_in_a_resumed_training(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropping = {"overrides": {**SHORT, "model.dropout": 0.3}}
    trained(folders, tmp_path / "whole", **dropping)
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            trained(folders, tmp_path / "resumed", **dropping)
    torch.rand(5)
    trained(folders, tmp_path / "resumed", **dropping)
    assert len({(tmp_path / name / "history.csv").read_text() for name in ("whole", "resumed")}) == 1


def test_an_interrupted_training_keeps_the_earlier_output(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cascade_clip"
    write_earlier(out, "train")
    interrupt_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        trained(folders, out)
    assert (out / "kept").read_text() == "earlier"


def test_a_training_killed_before_the_swap_only_swaps(
    folders: Folders, inductive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cascade_clip"
    write_earlier(out, "train")
    with monkeypatch.context() as patch:
        patch.setattr(work_folder, "put_in_place", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(folders, out)
    assert (out / "kept").read_text() == "earlier"
    with monkeypatch.context() as patch:
        patch.setattr("cascade_core.train.loop.set_learning_rates", interrupted)
        trained(folders, out)
    check_same_training(inductive, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cascade_clip"]


def test_a_training_states_the_hash_of_its_finished_content(inductive: Path) -> None:
    stated = read_json(inductive / "manifest.json")["content_sha256"]
    assert not (inductive / "resume").exists()
    with new_folder(inductive.with_name("copy")) as copy:
        for name in ("final", "half", "history.csv"):
            source = inductive / name
            shutil.copytree(source, copy / name) if source.is_dir() else shutil.copyfile(source, copy / name)
        assert write_manifest(copy, step="train", inputs={}, parameters={}).content_sha256 == stated


def test_a_checkpoint_of_another_configuration_is_not_resumed(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cascade_clip"
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            trained(folders, out)
    with pytest.raises(ValueError, match=r"differs in config.*--no-resume"):
        trained(folders, out, overrides={**SHORT, "optim.decoder_lr": 0.5})
    trained(folders, out, overrides={**SHORT, "optim.decoder_lr": 0.5}, resume=False)
    assert out.exists()


def test_accumulated_micro_batches_draw_the_same_pictures(folders: Folders, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    off = {**SHORT, "model.dropout": 0.0, "train.iterations": 1, "loss.kind": "cross_entropy"}
    trained(folders, whole, overrides=off)
    trained(folders, parts, overrides={**off, "train.accumulation_steps": 2})
    losses = [pd.read_csv(folder / "history.csv")["loss"].item() for folder in (whole, parts)]
    # Cross-entropy averages over labelled pixels, whose number differs between pictures.
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_bf16_training_stays_close_to_float32(folders: Folders, inductive: Path, tmp_path: Path) -> None:
    result = trained(folders, tmp_path / "bf16", precision="bf16")
    assert load_manifest(result.final).config.train.precision == "bf16"
    mixed, full = (pd.read_csv(path / "history.csv")["loss"] for path in (tmp_path / "bf16", inductive))
    assert mixed[0] == pytest.approx(full[0], rel=0.02)
    assert not (mixed == full).all()


def test_a_training_that_diverges_says_at_which_step(folders: Folders, tmp_path: Path) -> None:
    broken = folders.text.with_name("broken_text")
    broken.mkdir()
    for file in folders.text.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    vectors = load_file(broken / "class_vectors.safetensors")["class_vectors"]
    vectors[0, 0] = float("inf")
    save_file({"class_vectors": vectors}, broken / "class_vectors.safetensors")
    with pytest.raises(ValueError, match=r"step 1|finite"):
        trained(folders, tmp_path / "out", text=broken)


def test_full_supervision_refuses_self_training(folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "supervised"
    trained(folders, out, overrides={**SHORT, "train.supervision": "full"})
    assert read_json(out / "final/manifest.json")["setting"] == "supervised"
    with pytest.raises(ValueError, match="starts from an inductive run"):
        self_train.run(
            **folders.steps, trained=out, mode="oracle", overrides={}, out=tmp_path / "self_trained"
        )


@pytest.mark.parametrize("mode", ["oracle", "strict"])
def test_self_training_starts_from_the_half_way_checkpoint(
    folders: Folders, inductive: Path, tmp_path: Path, mode: Any
) -> None:
    out = tmp_path / mode
    result = self_train.run(
        **folders.steps, trained=inductive, mode=mode, overrides={"optim.decoder_lr": 1e-12}, out=out
    )
    half, final = (
        load_file(inductive / "half/model.safetensors"),
        load_file(result.final / "model.safetensors"),
    )
    manifest = read_json(result.final / "manifest.json")
    assert manifest["setting"] == f"transductive_{mode}"
    assert manifest["iteration"] == SHORT["train.iterations"] // 2
    name = "decoder.stages.0.query.proj.weight"
    # At this learning rate the decoder does not change.
    torch.testing.assert_close(half[name], final[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": "mini_zegclipp"}, r"unknown recipe 'mini_zegclipp'; known are mini_zegclip"),
        ({"overrides": {"train.iteration": 3}}, r"unknown override 'train.iteration'.*iterations"),
        ({"overrides": {"train.iterations": "many"}}, r"train.iterations.*'many'"),
        ({"recipe": "zegclip_voc12"}, r"protocol is 'mini-18-6'.*'voc12-15-5'"),
        ({"clip": Path("nowhere")}, r"nowhere/config.json is missing.*dvc pull"),
    ],
)
def test_bad_input_is_refused_before_training_and_leaves_outputs(
    folders: Folders, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    write_earlier(out, "train")
    with pytest.raises(ValueError, match=message):
        trained(folders, out, **change)
    assert sorted(path.name for path in out.iterdir()) == ["kept", "manifest.json"]


def test_a_clip_of_another_architecture_is_refused(folders: Folders, tmp_path: Path) -> None:
    config = MINI_CLIP.model_copy(update={"width": 32, "name": "narrow"})
    save_clip(tmp_path / "clip", new_clip(config, seed=0), words=list(WORDS))
    with pytest.raises(ValueError, match=r"'narrow' \(width 32.*wants 'mini' \(width 64"):
        trained(folders, tmp_path / "out", clip=tmp_path / "clip")


def test_a_checkpoint_has_the_activation_of_its_clip(folders: Folders, tmp_path: Path) -> None:
    gelu = MINI_CLIP.model_copy(update={"activation": "gelu", "name": "mini of others"})
    save_clip(tmp_path / "clip", new_clip(gelu, seed=0), words=list(WORDS))
    one_step = {**SHORT, "train.iterations": 1}
    done = trained(folders, tmp_path / "out", clip=tmp_path / "clip", overrides=one_step)
    assert load_segmentor(done.final)[1].config.model.clip == gelu


def test_text_vectors_whose_count_does_not_fit_are_refused(folders: Folders, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    write_json(text / "names.json", read_json(folders.text / "names.json"))
    save_file({"class_vectors": torch.randn(23, 64)}, text / "class_vectors.safetensors")
    with pytest.raises(ValueError, match=r"23.*24"):
        trained(folders, tmp_path / "out", text=text)
    assert not (tmp_path / "out").exists()


def test_text_vectors_of_other_templates_are_refused(
    folders: Folders, inductive: Path, tmp_path: Path
) -> None:
    others = {**SHORT, "data.templates": ["a photo of a {}"]}
    message = r"vectors were made with the templates .*the recipe has 'a photo of a \{\}'; run the text-vectors step"
    with pytest.raises(UserError, match=message):
        trained(folders, tmp_path / "out", overrides=others)
    with pytest.raises(UserError, match=message):
        self_train.run(
            **folders.steps, trained=inductive, mode="oracle", overrides=others, out=tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_text_vectors_without_recorded_templates_are_accepted(folders: Folders, tmp_path: Path) -> None:
    shutil.copytree(folders.text, tmp_path / "text")
    (tmp_path / "text" / "manifest.json").unlink()
    check_templates(tmp_path / "text", ["a photo of a {}"])


@pytest.fixture(scope="module")
def evaluated(folders: Folders, inductive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "inductive"
    evaluate.run(**folders.steps, checkpoint=inductive / "final", split="val", out=out)
    return out


def test_evaluation_scores_follow_from_its_confusion_matrix(evaluated: Path) -> None:
    row = read_json(evaluated / "scores.json")
    counts = pd.read_csv(evaluated / "confusion.csv", index_col="truth").to_numpy()
    assert counts.sum() == 3 * 64 * 64
    assert row["pAcc"] == pytest.approx(counts.trace() / counts.sum())
    assert row["hiou"] == pytest.approx(
        2 * row["miou_seen"] * row["miou_unseen"] / max(row["miou_seen"] + row["miou_unseen"], 1e-12)
    )
    of_pictures = read_counts(evaluated)
    assert of_pictures is not None and len(of_pictures.names) == 3
    sums = [counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)]
    np.testing.assert_array_equal(of_pictures.counts.sum(axis=0), sums)
    assert len(list((evaluated / "pictures").glob("*.png"))) == 3
    assert {path.name for path in evaluated.iterdir()} >= {"per_class.csv", "confusion.png", "per_class.png"}


def test_the_seen_penalty_is_for_inductive_models_only(
    folders: Folders, inductive: Path, evaluated: Path, tmp_path: Path
) -> None:
    result = self_train.run(
        **folders.steps, trained=inductive, mode="oracle", overrides={}, out=tmp_path / "oracle"
    )
    row = evaluate.run(**folders.steps, checkpoint=result.final, split="val", out=tmp_path / "evaluated")
    assert row.setting == "transductive_oracle"
    assert row.seen_penalty == 0.0
    assert read_json(evaluated / "scores.json")["seen_penalty"] == 0.1


def test_bf16_moves_few_pixels_and_is_recorded(
    folders: Folders, inductive: Path, evaluated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bf16"
    row = evaluate.run(
        **folders.steps, checkpoint=inductive / "final", split="val", precision="bf16", out=out
    )
    assert row.precision == "bf16" and read_json(evaluated / "scores.json")["precision"] == "fp32"
    single, half = (
        pd.read_csv(folder / "confusion.csv", index_col="truth").to_numpy() for folder in (evaluated, out)
    )
    # After four steps all classes score nearly alike.
    assert 0 < abs(single - half).sum() / 2 < 0.15 * single.sum()


def test_swapped_words_change_unseen_predictions_only(
    folders: Folders, inductive: Path, evaluated: Path, tmp_path: Path
) -> None:
    row = evaluate.run(
        **folders.steps, checkpoint=inductive / "final", split="val", control="words", out=tmp_path / "words"
    )
    assert row.setting == "control_words"
    tables = [
        pd.read_csv(folder / "confusion.csv", index_col="truth") for folder in (evaluated, tmp_path / "words")
    ]
    unseen = list(read_json(folders.splits / "split.json")["unseen"])
    seen = [name for name in tables[0].columns if name not in unseen]
    # The unseen columns are shifted by one place, and no seen column changes.
    order = sorted(unseen, key=list(tables[0].columns).index)
    shifted = order[1:] + order[:1]
    pd.testing.assert_frame_equal(tables[0][seen], tables[1][seen])
    for place, word in zip(order, shifted, strict=True):
        assert (tables[1][place].to_numpy() == tables[0][word].to_numpy()).all()


def test_a_named_target_uses_the_checkpoint_s_seen_classes(
    folders: Folders, inductive: Path, evaluated: Path, tmp_path: Path
) -> None:
    """With its own data set as the target, a checkpoint has the same scores under another name."""
    row = evaluate.run(
        **folders.steps,
        checkpoint=inductive / "final",
        split="val",
        target="mini-18-6",
        target_seen="names",
        out=tmp_path / "on",
    )
    plain = read_json(evaluated / "scores.json")
    assert row.protocol == "mini-18-6 from mini-18-6"
    assert row.seen_penalty == plain["seen_penalty"]
    assert row.scores == {name: plain[name] for name in ("pAcc", "miou_seen", "miou_unseen", "hiou")}


def test_a_picture_name_with_a_folder_is_drawn_below_it(
    folders: Folders, inductive: Path, world: Path, tmp_path: Path
) -> None:
    for place, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (world / place / "site").mkdir()
        (world / place / f"val_0000.{suffix}").rename(world / place / "site" / f"val_0000.{suffix}")
    names = world / "ImageSets" / "Segmentation" / "val.txt"
    names.write_text(names.read_text().replace("val_0000", "site/val_0000"))
    prepare.run(raw=world, protocol="mini-18-6", image_sets={"val": "val"}, out=tmp_path / "prepared")
    evaluate.run(
        **{**folders.steps, "prepared": tmp_path / "prepared"},
        checkpoint=inductive / "final",
        split="val",
        out=tmp_path / "evaluated",
    )
    pictures = tmp_path / "evaluated" / "pictures"
    assert (pictures / "site" / "val_0000.png").is_file()
    log = read_pictures(tmp_path / "evaluated")
    assert log is not None and log.pictures[0].name == "site/val_0000"
    assert read_kept(tmp_path / "evaluated", "site/val_0000").truth.shape == (64, 64)


def test_an_empty_split_is_refused(folders: Folders, inductive: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"split 'tset' has no pictures.*test, train, val"):
        evaluate.run(
            **folders.steps, checkpoint=inductive / "final", split="tset", out=tmp_path / "evaluated"
        )


def test_a_profile_counts_what_the_model_computes(folders: Folders, inductive: Path, tmp_path: Path) -> None:
    cost = profile.run(checkpoints=(inductive / "final",), text=folders.text, out=tmp_path / "profile").cost
    saved = read_json(tmp_path / "profile/profile.json")
    trainable = sum(
        tensor.numel()
        for name, tensor in load_file(inductive / "final/model.safetensors").items()
        if not name.startswith(("trunk.visual.", "decoder.mid."))
    )
    assert cost.trainable_params == saved["trainable_params"] == trainable
    assert cost.gmacs == pytest.approx(sum(part.gmacs for part in cost.breakdown.parts))
    assert cost.images_per_second > 0


def test_a_finished_training_keeps_no_resume_state(inductive: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not (inductive / NEWEST).exists()
    assert input_hash(inductive) == read_step_manifest(inductive).content_sha256
    assert not caplog.records
