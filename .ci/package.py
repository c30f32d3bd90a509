"""Build wheel and source archive twice, in two places: the same bytes, and what an index takes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def built(folder: Path) -> dict[str, str]:
    """Digest of each archive, made from a fresh copy of what git knows."""
    copy, out = folder / "copy", folder / "out"
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True, timeout=60
    ).stdout.decode()
    for name in filter(None, files.split("\0")):
        if (CHECKOUT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, copy / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=copy, check=True, timeout=300, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


def main() -> int:
    """Return 0 when both builds agree and the archives are in order."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        first, second = built(Path(one)), built(Path(other))
        for name, digest in sorted(first.items()):
            sys.stdout.write(f"{digest}  {name}\n")
        if first != second:
            sys.stderr.write(f"two builds differ: {sorted(first.items() ^ second.items())}\n")
            return 1
        archives = [str(path) for path in sorted((Path(one) / "out").iterdir())]
        return subprocess.run(
            [sys.executable, "-m", "twine", "check", "--strict", *archives],
            check=False, timeout=60,
        ).returncode  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
