"""The recipe file: a user's own recipe in YAML, a parent recipe and what differs from it.

```
parent: zegclip_voc12        # a recipe's name, or another recipe file beside this one
clip: ViT-L-14               # another backbone
train: {iterations: 5000}
```
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_core.configs.overrides import dotted, read_parameters, refuse_stated
from cascade_core.errors import UserError
from cascade_core.runtime.listing import brief

SUFFIXES = (".yaml", ".yml")
PARENT = "parent"
MOST_PARENTS = 16
"""The longest chain of recipe files, each the parent of the one before."""


@dataclass(frozen=True)
class OwnRecipe:
    """What a chain of recipe files says: the name of the first, the recipe at its end, and all changes by dotted keys."""

    name: str
    parent: str
    changes: Mapping[str, Any]


def is_recipe_file(name: str) -> bool:
    """Say whether a recipe's name is the path of a recipe file."""
    return name.endswith(SUFFIXES)


def read_recipe_file(file: Path) -> OwnRecipe:
    """Read a recipe file and the recipe files that are its parents; a file's changes win over its parent's.

    Raises:
        UserError: a file is missing or no YAML mapping, names no parent or changes what has an option of its own, or
            the files are each other's parents.
    """
    changes: dict[str, Any] = {}
    place, chain = file, [file]
    while True:
        values = dict(read_parameters(place))
        parent = values.pop(PARENT, None)
        if not isinstance(parent, str) or not parent.strip():
            raise UserError(
                f"recipe {place}: parent is {brief(parent)}; name the recipe that it changes, such as parent: mini_zegclip"
            )
        own = dotted(values)
        try:
            refuse_stated(own)
        except UserError as error:
            raise UserError(f"recipe {place}: {error}") from None
        changes = {**own, **changes}
        if not is_recipe_file(parent):
            return OwnRecipe(file.stem, parent, changes)
        place = place.parent / parent
        chain.append(place)
        if len(chain) > MOST_PARENTS:
            raise UserError(
                f"recipe {file}: more than {MOST_PARENTS} recipe files in a row, such as {chain[-2]} and {chain[-1]}; "
                "end them with a recipe's name as parent"
            )
