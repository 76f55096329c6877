"""What the plan of a workflow adds to DVC's graph: stages about one registered name keep DVC's order."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.workstation.stage_plan import by_model_name

RECIPES = {"a": "mini_zegclip", "b": "mini_cascade_clip", "c": "mini_zegclip"}


def _stages(*names: str) -> list[Any]:
    return [
        SimpleNamespace(addressing=name, cmd=f"cascade-clip {name.partition('_')[0]} --seed=0")
        for name in names
    ]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            None,
            [
                ["gate_inductive@a", "gate_inductive@c", "register_inductive@a", "gate_transductive@a"],
                ["gate_inductive@b", "register_inductive@b"],
            ],
        ),
        (
            "garden",
            [
                [
                    "gate_inductive@a",
                    "gate_inductive@b",
                    "gate_inductive@c",
                    "register_inductive@a",
                    "register_inductive@b",
                    "gate_transductive@a",
                ]
            ],
        ),
    ],
    ids=["a name for each method", "one name"],
)
def test_stages_about_one_registered_name_keep_their_order(
    task: str | None, expected: list[list[str]]
) -> None:
    stages = _stages(
        "train@a",
        "gate_inductive@a",
        "gate_inductive@b",
        "gate_inductive@c",
        "evaluate_inductive@a",
        "register_inductive@a",
        "register_inductive@b",
        "gate_transductive@a",
    )
    assert [*by_model_name(stages, {"recipes": RECIPES, "task": task}).values()] == expected
