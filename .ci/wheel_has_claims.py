"""Collect the claims of the installed package, away from the checkout, and require some."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import claims

CHECKOUT = Path(__file__).resolve().parent.parent
MINIMUM = 36


def main() -> int:
    """Return 0 when the wheel carries the article's claims and they are collected from it."""
    place = Path(claims.__file__).resolve()
    if place.is_relative_to(CHECKOUT) and ".tox" not in place.parts:
        sys.stderr.write(f"claims come from the checkout: {place}\n")
        return 1
    argv = [sys.executable, "-m", "pytest", "--vmvc", "--pyargs", "claims", "--co", "-q"]
    with tempfile.TemporaryDirectory() as outside:  # where no configuration of ours is found
        done = subprocess.run(
            argv, cwd=outside, capture_output=True, text=True, timeout=120, check=False
        )
    found = {line.split("[")[0] for line in done.stdout.splitlines() if "::test_" in line}
    sys.stdout.write(done.stdout + done.stderr)
    sys.stdout.write(f"{len(found)} claims collected from {place.parent}\n")
    return 0 if done.returncode == 0 and len(found) >= MINIMUM else 1


if __name__ == "__main__":
    sys.exit(main())
