"""Paginated answers are read to the end."""

from pathlib import Path
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from components.servers.paging import all_of, pages
from components.tracking.store import open_store


@given(content=st.lists(st.lists(st.integers()), min_size=1))
def test_every_page_is_asked_for_once_and_in_order(content: list[list[int]]) -> None:
    asked: list[str | None] = []

    def ask(token: str | None) -> SimpleNamespace:
        asked.append(token)
        number = int(token or 0)
        return SimpleNamespace(
            items=content[number], after=str(number + 1) if number + 1 < len(content) else ""
        )

    items = [page.items for page in pages(ask, next_token=lambda page: page.after)]
    assert items == content
    assert asked == [None, *map(str, range(1, len(content)))]


def test_all_pages_of_mlflow_are_read(store: Path) -> None:
    client = open_store()
    for name in ("a", "b", "c"):
        client.create_experiment(name)
    items = all_of(lambda token: client.search_experiments(max_results=2, page_token=token))
    assert {one.name for one in items} == {"Default", "a", "b", "c"}
