"""`--precision` of a training beside an override of it."""

import pytest

from cascade_core.configs.overrides import with_precision
from cascade_core.errors import UserError


def test_an_override_may_repeat_the_option_but_not_contradict_it() -> None:
    assert with_precision({"a": 1}, None) == {"a": 1}
    assert with_precision({"train.precision": "bf16"}, "bf16") == {"train.precision": "bf16"}
    with pytest.raises(UserError, match="--precision bf16 and override train.precision=fp32; give one"):
        with_precision({"train.precision": "fp32"}, "bf16")
