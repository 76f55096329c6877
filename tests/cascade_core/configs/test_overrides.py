"""Overrides: nothing that is given is swallowed."""

import pytest

from cascade_core.configs.overrides import STATED, refuse_stated
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError


@pytest.mark.parametrize("key", sorted(STATED))
def test_what_an_option_states_is_no_override(key: str) -> None:
    told = f"override '{key}': {key} is stated by .*--"
    with pytest.raises(UserError, match=told):
        recipe("mini_zegclip", {key: "anything"}, seed=3)
    with pytest.raises(UserError, match=told):
        refuse_stated({"train.iterations": 3, key: "anything"})


def test_every_other_override_arrives() -> None:
    config = recipe("mini_zegclip", {"train.iterations": 30, "self_train.batch_size": 3}, seed=3)
    assert (config.seed, config.train.iterations, config.self_train.batch_size) == (3, 30, 3)
