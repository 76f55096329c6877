"""The graph of the workflow, by a runner that only notes what feeds what."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from components.contract import Call, Folder, Option, Step, step
from components.contract.shared import Out, Prepared
from pipelines.graphs.runner import Data
from pipelines.graphs.training import made_ready, offered, reported, self_trained, trained
from pipelines.workstation.folders import InFolder


@dataclass
class Noting:
    """Gives names as handles, and notes what each step got."""

    got: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __call__(
        self, stated: Step[Any, Any], data: Data[str], setting: str = "", *, after: Sequence[str] = (), **arguments: Any
    ) -> str:  # fmt: skip
        name = " ".join(filter(None, (stated.name, setting)))
        assert name not in self.got
        unknown = set(arguments) - set(stated.parameters)
        assert not unknown, f"step {stated.name} takes no {unknown}"
        self.got[name] = {**data.given(stated.parameters, arguments), "after": list(after)}
        return name


def test_every_step_is_fed_by_the_ones_before_it() -> None:
    do, scoring = Noting(), {"split": "test"}
    data = made_ready(do, Data(raw="raw", clip="clip"), protocol="p", image_sets={}, vectors={"recipe": "r"})
    assert (data.prepared, data.splits, data.text) == ("prepare", "splits", "text_vectors")
    inductive = trained(do, data, recipe="r", overrides={}, seed=0, scoring=scoring)
    transductive = self_trained(do, data, inductive, mode="oracle", overrides={}, scoring=scoring)
    offered(do, data, (inductive, transductive), {})
    reported(do, data, (inductive, transductive))
    fed = {
        name: {key for key, value in got.items() if isinstance(value, str) and value in do.got}
        | {*got["after"]}
        for name, got in do.got.items()
        if name != "report"
    }
    assert fed == {
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
    assert do.got["evaluate transductive"]["checkpoint"] == "self_train"
    assert do.got["register transductive"]["checkpoint"] == "self_train"
    report = do.got["report"]
    assert report["evaluations"] == ["evaluate inductive", "evaluate transductive"]
    assert (report["profiles"], report["trainings"]) == (["profile"], ["train", "self_train"])


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
    """Write what was given."""
    out.mkdir(parents=True)
    (out / "given").write_text(f"{prepared} {models} {split}")


def test_steps_run_here_once_each_into_a_folder_of_their_own(tmp_path: Path) -> None:
    do, data = InFolder(tmp_path), Data(raw=Path("raw"), prepared=Path("prepared"))
    out = do(count, data, "all", models=Path("one"), split="val")
    assert out == tmp_path / "count-all-val"
    given = (out / "given").read_text()
    assert given == f"prepared {(Path('one/final'),)} val"
    (out / "given").write_text("kept")
    assert do(count, data, "all", models=Path("one"), split="val") == out
    assert (out / "given").read_text() == "kept"
