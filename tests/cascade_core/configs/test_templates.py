"""Sets of prompt templates."""

import pytest

from cascade_core.configs.recipes import recipe
from cascade_core.configs.templates import TemplateSet, named_templates


@pytest.mark.parametrize(("name", "number"), [("single", 1), ("authors15", 15), ("clip80", 80)])
def test_each_set_has_different_templates_with_one_slot(name: str, number: int) -> None:
    templates = named_templates(TemplateSet(name))
    assert len(set(templates)) == len(templates) == number
    assert all(template.count("{}") == 1 for template in templates)


def test_recipes_use_the_sets_of_their_data() -> None:
    assert recipe("cascade_voc12").data.templates == named_templates(TemplateSet.single)
    assert recipe("cascade_context59").data.templates == named_templates(TemplateSet.authors15)
