"""`--precision` of evaluate, train, self-train and predict."""

import pytest

from cascade_core.configs.overrides import with_precision
from cascade_core.errors import UserError
from components.contract.shared import precision_named


def test_the_option_names_a_precision() -> None:
    assert precision_named("bf16") == "bf16"
    assert precision_named("auto", "cpu") in ("fp32", "bf16")
    with pytest.raises(UserError, match="--precision is 'half'; give auto, fp32 or bf16"):
        precision_named("half")


def test_an_override_may_repeat_the_option_but_not_contradict_it() -> None:
    assert with_precision({"a": 1}, None) == {"a": 1}
    assert with_precision({"train.precision": "bf16"}, "bf16") == {"train.precision": "bf16"}
    with pytest.raises(UserError, match="--precision bf16 and override train.precision=fp32; give one"):
        with_precision({"train.precision": "fp32"}, "bf16")
