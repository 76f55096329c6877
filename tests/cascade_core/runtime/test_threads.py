"""Torch's number of threads is set for one Python thread only."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cascade_core.runtime.threads import threads_used


@pytest.fixture(autouse=True)
def _three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as another:
        return another.submit(torch.get_num_threads).result()


def test_threads_started_meanwhile_are_unaffected() -> None:
    """In a server one request may compute its tiles while the thread of the next one runs the model."""
    with threads_used(1):
        assert torch.get_num_threads() == 1
        assert in_a_new_thread() == 3
    assert torch.get_num_threads() == in_a_new_thread() == 3


def test_the_thread_count_is_restored_also_after_an_error() -> None:
    with pytest.raises(KeyError), threads_used(1), threads_used(2):
        raise KeyError
    assert torch.get_num_threads() == in_a_new_thread() == 3
