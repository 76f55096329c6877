"""Look up worlds by name."""

from cascade_core.mini.hard_world import DRAWN_WORLD, HARD_WORLD
from cascade_core.mini.mini_world import MINI_WORLD
from cascade_core.mini.world import World
from cascade_core.runtime.listing import by_name

WORLDS = {world.name: world for world in (MINI_WORLD, HARD_WORLD, DRAWN_WORLD)}


def named_world(name: str) -> World:
    """Return the world of this name; a `UserError` lists the known names."""
    return by_name(name, WORLDS, kind="world")
