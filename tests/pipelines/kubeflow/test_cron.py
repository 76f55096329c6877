"""Cron expressions: they get six_fields fields, and errors name the wrong field."""

from datetime import UTC, datetime

import pytest

from pipelines.kubeflow.cron import FIELDS, checked_cron, next_times


@pytest.mark.parametrize(
    ("expression", "six_fields"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("30 0 3 * * *", "30 0 3 * * *"),
        ("  */15 8-18/2 * * MON-FRI ", "0 */15 8-18/2 * * MON-FRI"),
        ("0 0 9 ? * 1,3,5", "0 0 9 ? * 1,3,5"),
        ("0 0 29 FEB *", "0 0 0 29 FEB *"),
    ],
)
def test_an_expression_of_five_fields_gets_seconds(expression: str, six_fields: str) -> None:
    assert checked_cron(expression) == six_fields


@pytest.mark.parametrize("position", range(6), ids=list(FIELDS))
@pytest.mark.parametrize("wrong", ["99", "x", "1-", "*/0", "-1", "1,,2", "1.5"])
def test_a_wrong_field_is_named(position: int, wrong: str) -> None:
    fields = ["0", "0", "3", "*", "*", "*"]
    fields[position] = wrong
    name = list(FIELDS)[position]
    with pytest.raises(ValueError, match=f"{name} is '{wrong}'".replace("*", r"\*").replace(".", r"\.")):
        checked_cron(" ".join(fields))


@pytest.mark.parametrize("wrong", ["", "3", "* * * *", "* * * * * * *", "@daily"])
def test_another_number_of_fields_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="cron expression"):
        checked_cron(wrong)


def test_a_date_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="no date fits day of month '30' and month '2'"):
        checked_cron("0 3 30 2 *")


def test_the_next_times_follow_the_expression() -> None:
    after = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert next_times("0 30 3 ? * 1", 2, after=after) == [
        datetime(2026, 1, 5, 3, 30, tzinfo=UTC),
        datetime(2026, 1, 12, 3, 30, tzinfo=UTC),
    ]
