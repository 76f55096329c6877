"""YAML from elsewhere as plain values: no tags, no repeated keys, few levels, and aliases that cannot fill the memory."""

from typing import Any, NoReturn

import yaml

from cascade_core.errors import UserError
from cascade_core.runtime.files import DEEPEST
from cascade_core.runtime.listing import brief, duplicates, shortened

MOST_BYTES = 2**20
"""The longest text; params.yaml has a few thousand bytes, and so has a label file of 253 classes with synonyms."""
MOST_VALUES = 20_000
"""The most values of a text; each alias counts as all values that it stands for."""


def parse_yaml(text: str, what: str, *, aliases: bool = False) -> Any:
    """Parse a YAML document into plain values.

    A few aliases (`*name`) can stand for gigabytes, so they are refused, or with `aliases` counted. Tags (`!!int`) are
    refused, because a tagged value is not what it looks like.

    Raises:
        UserError: the text is no YAML, is too long, or has a repeated key, a tag, an alias, too many values or more
            than `DEEPEST` levels; the message calls it `what`.
    """
    if len(text) > MOST_BYTES:
        raise UserError(f"{what} has more than {MOST_BYTES:,} letters; write less")
    try:
        loader = _Loader(text, what, aliases=aliases)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except UserError:
        raise
    except Exception as error:  # PyYAML's errors, and Python's for odd dates and numbers
        raise UserError(f"{what} is not YAML: {shortened(str(error) or type(error).__name__)}") from error


class _Loader(yaml.SafeLoader):
    """A YAML loader that checks each node before it creates the value."""

    def __init__(self, text: str, what: str, *, aliases: bool) -> None:
        super().__init__(text)
        self._what, self._aliases = what, aliases
        self._depth, self._count = 0, 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node as PyYAML does, after a check of its tag and depth, and count its values."""
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and not self._aliases:
            self._refuse("write the value out", event)
        if (tag := getattr(event, "tag", None)) not in (None, "!"):
            self._refuse(f"leave out the tag {brief(tag)}", event)
        levels = int(isinstance(event, yaml.CollectionStartEvent))
        if self._depth + levels > DEEPEST:
            self._refuse(f"nest at most {DEEPEST} levels", event)
        before = self._count
        self._depth += levels
        node = super().compose_node(parent, index)
        self._depth -= levels
        if is_alias and id(node) not in self._sizes:
            self._refuse("remove the alias inside the value that it stands for", event)
        self._count += self._sizes[id(node)] if is_alias else 1
        self._sizes.setdefault(id(node), self._count - before)
        if self._count > MOST_VALUES:
            self._refuse(f"write at most {MOST_VALUES:,} values, those of aliases included", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping as PyYAML does, and refuse repeated keys, of which PyYAML silently uses the last."""
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := duplicates(keys):
            raise yaml.composer.ComposerError(
                None, None, f"key {brief(repeated[0])} stands twice", node.start_mark
            )
        return node

    def _refuse(self, way_out: str, event: yaml.Event) -> NoReturn:
        line = f", line {event.start_mark.line + 1}" if event.start_mark else ""
        raise UserError(f"{self._what}{line}: {way_out}; only plain YAML is read")
