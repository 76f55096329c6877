"""Answers that a server gives in pages, each with the token of the next."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any


def pages(
    ask: Callable[[str | None], Any], *, next_token: Callable[[Any], str | None] = attrgetter("token")
) -> Iterator[Any]:
    """Yield every page of an answer; `ask` takes the token of a page, which is None for the first.

    `next_token` reads the token of the next page from a page, empty or None on the last one; MLflow's pages call
    it `token`.
    """
    token = None
    while True:
        page = ask(token)
        yield page
        token = next_token(page)
        if not token:
            return


def all_of(ask: Callable[[str | None], Any]) -> list[Any]:
    """Give what stands on all pages of an answer of MLflow's."""
    return [item for page in pages(ask) for item in page]
