"""Read paginated answers of servers, page by page, to the end."""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any


def pages(
    ask: Callable[[str | None], Any], *, next_token: Callable[[Any], str | None] = attrgetter("token")
) -> Iterator[Any]:
    """Yield every page of an answer.

    `ask` requests a page by its token; the first page's token is None. `next_token` reads the next page's token from
    a page; it is empty or None on the last page. The default is for MLflow.
    """
    token = None
    while True:
        page = ask(token)
        yield page
        token = next_token(page)
        if not token:
            return


def all_of(ask: Callable[[str | None], Any]) -> list[Any]:
    """Return the items of all pages of an answer from MLflow."""
    return [item for page in pages(ask) for item in page]
