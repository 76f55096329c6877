"""The rule by which old results go, and the items that it is applied to.

An item stays if anything refers to it, if it is among the newest of its group, or if it is young. What refers to an item
differs by kind; the modules beside this one say it.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from cascade_core.errors import UserError

USUAL_KEEP, USUAL_DAYS = 5, 7.0

Kind = Literal["version", "files", "run", "training", "artifacts"]
"""Registered versions, files of versions that are gone, pipelines' runs in MLflow, trainings, and Kubeflow's folders."""


class StillNeededError(UserError):
    """An item that should go is needed since: it stays."""


@dataclass(frozen=True)
class Rule:
    """Keep the newest `keep` of each group, and everything that is younger than `days`, at the time `now`."""

    keep: int
    days: float
    now: datetime

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise UserError(f"--keep is {self.keep}; give the number of the newest to keep, at least 1")
        if not self.days >= 0:
            raise UserError(f"--older-than is {self.days:g}; give days, such as 7")

    def is_young(self, made: datetime) -> bool:
        """Return whether something was made so recently that it stays whatever refers to it."""
        return self.now - made < timedelta(days=self.days)

    def by_age(self, item: "Item") -> "Item":
        """Return an item that stays only if it is young."""
        return replace(item, stays=f"younger than {self.days:g} days") if self.is_young(item.made) else item


@dataclass(frozen=True)
class Item:
    """Something that takes space.

    Attributes:
        name: how people find it.
        made: with its time zone.
        group: of the items of a kind and group, the newest stay.
        key: the id by which other items refer to it; of a version, that of the run that made it.
        stays: why it stays; "" if it goes.
        num_bytes: None if the place does not say.
        remove: removes it; raises `StillNeededError` if something refers to it by then.
    """

    kind: Kind
    name: str
    made: datetime
    group: Hashable
    key: str
    remove: Callable[[], None] = field(repr=False, compare=False)
    stays: str = ""
    num_bytes: int | None = None


def judged(items: Iterable[Item], rule: Rule) -> Iterator[Item]:
    """Apply the rule to the items of one kind, whose references are known: yield them newest first."""
    ranks: dict[Hashable, int] = {}
    for item in sorted(items, key=lambda item: item.made, reverse=True):
        ranks[item.group] = ranks.get(item.group, 0) + 1
        if item.stays:
            yield item
        elif ranks[item.group] <= rule.keep:
            yield replace(item, stays=f"among the newest {rule.keep}")
        else:
            yield rule.by_age(item)
