"""Write the oldest versions that pyproject.toml admits, one requirement a line."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["test"]]
Path(sys.argv[1]).write_text("".join(f"{re.sub('>=', '==', one)}\n" for one in wanted))
