"""The report's section on cost: latency of each case, and the parts that take the time, from profiles' JSON."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cascade_core.configs.recipes import METHOD_NAMES
from cascade_core.errors import UserError
from cascade_core.runtime.files import read_json
from components.results.names import PROFILE_FILE


def cost_section(profiles: Iterable[Path]) -> dict[str, Any]:
    """Return the rows of both tables for the profile steps' folders; {} if no profile has a breakdown.

    The part with the largest share of any model's time comes first; a model without that part has None.

    Raises:
        UserError: a profile is missing or broken.
    """
    costs = {folder / PROFILE_FILE: read_json(folder / PROFILE_FILE) for folder in profiles}
    costs = {file: cost for file, cost in costs.items() if "breakdown" in cost}
    if not costs:
        return {}
    try:
        return _section(list(costs.values()))
    except KeyError as error:
        files = ", ".join(map(str, costs))
        raise UserError(f"{files}: field {error} is missing; run the profile step again") from error


def _section(costs: list[dict[str, Any]]) -> dict[str, Any]:
    shares = [_shares(cost["breakdown"]) for cost in costs]
    parts = dict.fromkeys(name for share in shares for name in share)
    largest = {name: max(share[name]["share"] for share in shares if name in share) for name in parts}
    return {
        "counter": costs[0]["gmacs_counted_by"],
        "memory": costs[0]["peak_memory_measured_by"],
        "models": [_model(cost) for cost in costs],
        "cases": [_case(cost, speed) for cost in costs for speed in cost["speeds"]],
        "parts": [
            (name, [share.get(name) for share in shares])
            for name in sorted(parts, key=lambda name: -largest[name])
        ],
    }


def _model(cost: dict[str, Any]) -> dict[str, Any]:
    parts = cost["breakdown"]
    return {
        "name": METHOD_NAMES.get(cost["method"], cost["method"]),
        "where": f"{cost['device']}, {cost['threads']} threads",
        "total": f"{parts['milliseconds']:,.3g} ms, batch {parts['batch_size']} of {parts['image_size']} px",
    }


def _case(cost: dict[str, Any], speed: dict[str, Any]) -> dict[str, Any]:
    quartiles = speed["milliseconds_quartiles"]
    return {
        "name": METHOD_NAMES.get(cost["method"], cost["method"]),
        **speed,
        "quartiles": "-" if quartiles is None else " to ".join(f"{one:,.3g}" for one in quartiles),
    }


def _shares(breakdown: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        part["name"]: {"share": part["milliseconds"] / breakdown["milliseconds"], "gmacs": part["gmacs"]}
        for part in breakdown["parts"]
    }
