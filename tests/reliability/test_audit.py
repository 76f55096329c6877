"""The audit of the dependencies says which database it asked and when, or that it asked none."""

import json
from datetime import UTC, datetime

from tests.reliability.audit import NONE, SOME, UNREACHABLE, verdict

NOW = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
WEAK = {"name": "pillow", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["12.0"]}]}


def said(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_sound_lock_passes_with_the_date_of_the_database() -> None:
    assert verdict(said(SOUND), "", now=NOW) == (
        NONE, ["1 packages, 0 advisories; osv.dev as of 2026-11-29 12:30 UTC"]
    )  # fmt: skip


def test_an_advisory_is_named_with_the_version_that_mends_it() -> None:
    status, lines = verdict(said(SOUND, WEAK), "", now=NOW)
    assert status == SOME and lines[0] == "pillow 1.0: CVE-1, mended in 12.0"


def test_a_package_that_was_not_audited_fails_the_audit() -> None:
    status, lines = verdict(said(SOUND, {"name": "torch", "skip_reason": "not on PyPI"}), "", now=NOW)
    assert status == SOME and lines == [
        "not audited: torch: not on PyPI", "1 packages, 0 advisories; osv.dev as of 2026-11-29 12:30 UTC"
    ]  # fmt: skip


def test_unreachable_advisories_are_no_success() -> None:
    status, lines = verdict("", "trace\nConnectionError: no route to osv.dev\n", now=NOW)
    assert status == UNREACHABLE and "nothing was audited: ConnectionError: no route" in lines[0]
