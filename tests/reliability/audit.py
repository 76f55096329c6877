"""Compare the locked dependencies with the advisories of osv.dev, which include PyPI's: `make audit`.

Exits with 0 if no advisory applies, with 3 if some do, and with 2 if the advisories cannot be reached: then nothing was audited.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[2] / "requirements.lock"
NONE, SOME, UNREACHABLE = 0, 3, 2


def main(arguments: Sequence[str] = ()) -> int:
    """Audit the lock; `arguments` go to pip-audit."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--progress-spinner", "off", "--format", "json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, lines = verdict(done.stdout, done.stderr, now=datetime.now(UTC))
    print("\n".join(lines))
    return status


def verdict(stdout: str, stderr: str, *, now: datetime) -> tuple[int, list[str]]:
    """Return the exit status and the lines to print, from what pip-audit wrote."""
    try:
        packages: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except ValueError:
        last = (stderr.strip().splitlines() or ["pip-audit ended without a word"])[-1]
        return UNREACHABLE, [f"the advisories cannot be reached, so that nothing was audited: {last}"]
    advisories = [
        (package, advisory) for package in packages for advisory in package.get("vulns", ()) if advisory
    ]
    skipped = [
        f"{package['name']}: {package['skip_reason']}" for package in packages if "skip_reason" in package
    ]
    lines = [
        f"{package['name']} {package['version']}: {advisory['id']}, mended in {', '.join(advisory['fix_versions']) or 'none'}"
        for package, advisory in advisories
    ]
    number = len(packages) - len(skipped)
    # The service answers from its live database, so the database's date is that of the question.
    lines.append(f"{number} packages, {len(advisories)} advisories; osv.dev as of {now:%Y-%m-%d %H:%M} UTC")
    return (SOME if advisories or skipped else NONE), [*(f"not audited: {line}" for line in skipped), *lines]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
