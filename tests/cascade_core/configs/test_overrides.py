"""Overrides: every key arrives or is refused."""

import pytest

from cascade_core.configs.overrides import STATED, refuse_stated
from cascade_core.configs.recipes import recipe
from cascade_core.errors import UserError


@pytest.mark.parametrize("key", sorted(STATED))
def test_a_key_with_its_own_option_is_no_override(key: str) -> None:
    message = f"override '{key}': {key} is stated by .*--"
    with pytest.raises(UserError, match=message):
        recipe("mini_zegclip", {key: "anything"}, seed=3)
    with pytest.raises(UserError, match=message):
        refuse_stated({"train.iterations": 3, key: "anything"})


def test_every_other_override_arrives() -> None:
    config = recipe("mini_zegclip", {"train.iterations": 30, "self_train.batch_size": 3}, seed=3)
    assert (config.seed, config.train.iterations, config.self_train.batch_size) == (3, 30, 3)
