"""The order of parts that need each other, and what a failure or an interrupt leaves running."""

import threading
from collections.abc import Callable

import pytest

from pipelines.workstation import side_by_side
from pipelines.workstation.side_by_side import Part, run_parts

TIMEOUT = 20


class Works:
    """Parts that start, and end when they are let go."""

    def __init__(self, *held: str) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.most = 0
        self.gates = {name: threading.Event() for name in held}
        self._changed = threading.Condition()

    def __call__(self, part: Part) -> None:
        with self._changed:
            self.begun.append(part.name)
            self.most = max(self.most, len(self.begun) - len(self.ended))
            self._changed.notify_all()
        if part.name in self.gates:
            assert self.gates[part.name].wait(TIMEOUT)
        with self._changed:
            self.ended.append(part.name)

    def when(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, TIMEOUT)


def _part(name: str, *needs: str, long: bool = False, device: str | None = None) -> Part:
    return Part(name, frozenset(needs), long, device)


def test_a_part_starts_after_all_that_it_needs() -> None:
    works = Works()
    parts = [_part("c", "a", "b"), _part("b", "a"), _part("d", "elsewhere"), _part("a")]
    run_parts(parts, works, at_once=3)
    assert works.begun.index("a") < works.begun.index("b") < works.begun.index("c")
    assert sorted(works.ended) == ["a", "b", "c", "d"]


def test_with_one_at_a_time_the_parts_keep_their_order() -> None:
    works = Works()
    run_parts([_part("a"), _part("b", "a"), _part("c", "a"), _part("d")], works, at_once=1)
    assert works.begun == ["a", "b", "c", "d"]
    assert works.most == 1


def test_parts_run_side_by_side_up_to_a_number() -> None:
    works = Works("a", "b", "c")
    runner = threading.Thread(
        target=run_parts, args=([_part(name) for name in "abc"], works), kwargs={"at_once": 2}
    )
    runner.start()
    works.when(lambda: works.begun == ["a", "b"])
    works.gates["b"].set()
    works.when(lambda: works.begun == ["a", "b", "c"])
    for gate in works.gates.values():
        gate.set()
    runner.join(TIMEOUT)
    assert works.most == 2


def test_a_part_that_measures_time_runs_alone() -> None:
    works = Works("a", "timed")
    parts = [Part("timed", alone=True), _part("a"), _part("b"), _part("c", "timed"), _part("d", "a")]
    runner = threading.Thread(target=run_parts, args=(parts, works), kwargs={"at_once": 2})
    runner.start()
    works.when(lambda: works.ended == ["b"])
    assert "timed" not in works.begun
    works.gates["a"].set()
    works.when(lambda: "timed" in works.begun)
    assert sorted(works.ended) == ["a", "b", "d"] and "c" not in works.begun
    works.gates["timed"].set()
    runner.join(TIMEOUT)
    assert works.ended[-1] == "c"


def test_long_parts_start_before_short_ones() -> None:
    works = Works()
    run_parts([_part("a"), _part("b"), _part("long", long=True)], works, at_once=1)
    assert works.begun == ["long", "a", "b"]


def test_parts_on_one_device_run_one_at_a_time() -> None:
    works = Works("other")
    parts = [_part("a", device="gpu"), _part("b", device="gpu"), _part("other")]
    runner = threading.Thread(target=run_parts, args=(parts, works), kwargs={"at_once": 3})
    runner.start()
    works.when(lambda: len(works.begun) == 3)
    works.gates["other"].set()
    runner.join(TIMEOUT)
    assert works.begun in (["a", "other", "b"], ["other", "a", "b"])


def test_without_room_a_part_waits_for_those_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "SECONDS_BETWEEN_LOOKS", 0.01)
    works = Works()
    run_parts([_part(name) for name in "abc"], works, at_once=3, room=lambda: False)
    assert works.begun == ["a", "b", "c"]
    assert works.most == 1


def test_after_a_failure_only_running_parts_go_on() -> None:
    works = Works("slow")

    def work(part: Part) -> None:
        if part.name == "bad":
            works.when(lambda: "slow" in works.begun)
            works.gates["slow"].set()
            raise ValueError("bad")
        works(part)

    parts = [_part("slow"), _part("bad"), _part("next", "slow"), _part("child", "bad")]
    with pytest.raises(ValueError, match="bad"):
        run_parts(parts, work, at_once=2)
    assert works.ended == ["slow"]


def test_once_halted_only_running_parts_go_on() -> None:
    works = Works("a")

    def halted() -> bool:
        if works.begun == ["a"]:
            works.gates["a"].set()
        return "a" in works.begun

    with pytest.raises(KeyboardInterrupt):
        run_parts([_part("a"), _part("b", "a")], works, at_once=2, halted=halted)
    assert works.ended == ["a"]


def test_parts_that_need_each_other_are_named() -> None:
    with pytest.raises(AssertionError, match="need each other: a, b"):
        run_parts([_part("a", "b"), _part("b", "a")], Works(), at_once=2)
