"""What the report shows of the profiles: latency of each case, and which parts take the time. Reads files alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.results.rows import PROFILE_FILE


def cost_section(profiles: Iterable[Path]) -> dict[str, Any]:
    """Give the rows of both tables for the profile steps' folders; {} if none of them holds a breakdown.

    Parts come with the largest share of any model's time first; a model that has no such part gets None.

    Raises:
        UserError: a profile is missing or broken.
    """
    read = [(folder, read_json(folder / PROFILE_FILE)) for folder in profiles]
    costs = [(folder, cost) for folder, cost in read if "breakdown" in cost]
    if not costs:
        return {}
    try:
        shares = [_shares(cost["breakdown"]) for _, cost in costs]
        largest = {
            name: max(one[name]["share"] for one in shares if name in one) for one in shares for name in one
        }
        return {
            "counter": costs[0][1]["gmacs_counted_by"],
            "memory": costs[0][1]["peak_memory_measured_by"],
            "models": [_model(cost) for _, cost in costs],
            "cases": [_case(cost, speed) for _, cost in costs for speed in cost["speeds"]],
            "parts": [
                (name, [one.get(name) for one in shares])
                for name in sorted(largest, key=lambda name: -largest[name])
            ],
        }
    except KeyError as error:
        raise UserError(
            f"{', '.join(str(folder / PROFILE_FILE) for folder, _ in costs)}: field {error} is missing; "
            "run the profile step again"
        ) from error


def _model(cost: dict[str, Any]) -> dict[str, Any]:
    parts = cost["breakdown"]
    return {
        "name": _name(cost),
        "where": f"{cost['device']}, {cost['threads']} threads",
        "total": f"{parts['milliseconds']:,.3g} ms, batch {parts['batch_size']} of {parts['image_size']} px",
    }


def _case(cost: dict[str, Any], speed: dict[str, Any]) -> dict[str, Any]:
    quartiles = speed["milliseconds_quartiles"]
    return {
        "name": _name(cost),
        **speed,
        "quartiles": "-" if quartiles is None else " to ".join(f"{one:,.3g}" for one in quartiles),
    }


def _shares(breakdown: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        part["name"]: {"share": part["milliseconds"] / breakdown["milliseconds"], "gmacs": part["gmacs"]}
        for part in breakdown["parts"]
    }


def _name(cost: dict[str, Any]) -> str:
    return METHOD_NAMES.get(cost["method"], cost["method"])
