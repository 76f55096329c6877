"""The graph of the workflow, with a runner that records each step's arguments."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from components.contract import Call, Folder, Option, Step, step
from components.contract.shared import Out, Prepared
from pipelines.graphs.runner import Data
from pipelines.graphs.training import (
    Measured,
    kept_templates,
    prepare_data,
    register_models,
    report_models,
    self_train_and_score,
    train_and_measure,
)
from pipelines.workstation.chains import FolderRunner


@dataclass
class Recorder:
    """The runner that returns steps' names as handles and records their arguments."""

    calls: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(
        self, step: Step[Any, Any], data: Data[str], setting: str = "", *, after: Sequence[str] = (), **arguments: Any
    ) -> str:  # fmt: skip
        name = " ".join(filter(None, (step.name, setting)))
        assert name not in self.calls
        unknown = set(arguments) - set(step.parameters)
        assert not unknown, f"step {step.name} takes no {unknown}"
        self.calls[name] = {**data.arguments(step.parameters, arguments), "after": list(after)}
        return name


def test_every_step_reads_outputs_of_the_right_steps() -> None:
    run, scoring = Recorder(), {"split": "test"}
    data = prepare_data(
        run, Data(raw="raw", clip="clip"), protocol="p", image_sets={}, vectors={"recipe": "r"}
    )
    assert (data.prepared, data.splits, data.text) == ("prepare", "splits", "text_vectors")
    inductive = train_and_measure(run, data, recipe="r", overrides={}, seed=0, scoring=scoring)
    transductive = self_train_and_score(run, data, inductive, mode="oracle", overrides={}, scoring=scoring)
    register_models(run, data, (inductive, transductive), {})
    report_models(run, data, (inductive, transductive))
    inputs = {
        name: {key for key, value in call.items() if isinstance(value, str) and value in run.calls}
        | {*call["after"]}
        for name, call in run.calls.items()
        if name != "report"
    }
    assert inputs == {
        "prepare": set(),
        "splits": {"prepared"},
        "text_vectors": set(),
        "train": {"prepared", "splits", "text"},
        "evaluate inductive": {"prepared", "splits", "text", "checkpoint"},
        "profile": {"checkpoints", "text"},
        "self_train": {"prepared", "splits", "text", "trained"},
        "evaluate transductive": {"prepared", "splits", "text", "checkpoint"},
        "gate inductive": {"evaluation"},
        "register inductive": {"checkpoint", "evaluation", "profile", "decision"},
        "gate transductive": {"evaluation", "register inductive"},
        "register transductive": {"checkpoint", "evaluation", "profile", "decision"},
    }
    assert run.calls["evaluate transductive"]["checkpoint"] == "self_train"
    assert run.calls["register transductive"]["checkpoint"] == "self_train"
    report = run.calls["report"]
    assert report["evaluations"] == ["evaluate inductive", "evaluate transductive"]
    assert (report["profiles"], report["trainings"]) == (["profile"], ["train", "self_train"])


def test_a_register_step_without_a_gate_decides_itself() -> None:
    run, model = Recorder(), Measured("model", "evaluation", "cost")
    register_models(run, Data(clip="clip"), (model, model), {"min_hiou_gain": 1}, own_gate=False)
    assert list(run.calls) == ["register inductive", "register transductive"]
    assert run.calls["register transductive"]["min_hiou_gain"] == 1
    assert [call["after"] for call in run.calls.values()] == [[], ["register inductive"]]


@step("count", example="", tracked=False)
def count(
    call: Call,
    /,
    *,
    prepared: Prepared,
    models: Annotated[Sequence[Path], Folder("Models.", below="final")],
    split: Annotated[str, Option()] = "test",
    out: Out,
) -> None:
    """Write the arguments to a file."""
    out.mkdir(parents=True)
    (out / "arguments").write_text(f"{prepared} {models} {split}")


def test_a_step_whose_folder_exists_is_skipped(tmp_path: Path) -> None:
    run, data = FolderRunner(tmp_path), Data(raw=Path("raw"), prepared=tmp_path)
    out = run(count, data, "all", models=Path("one"), split="val")
    assert out == tmp_path / "count-all-val"
    text = (out / "arguments").read_text()
    assert text == f"{tmp_path} {(Path('one/final'),)} val"
    (out / "arguments").write_text("kept")
    assert run(count, data, "all", models=Path("one"), split="val") == out
    assert (out / "arguments").read_text() == "kept"


def test_runs_of_otseg_keep_the_vectors_of_templates() -> None:
    assert kept_templates(["mini_zegclip", "mini_otseg"]) == {"by_template": True}
    assert kept_templates(["mini_zegclip", "mini_cascade_clip:sigma"]) == {}
