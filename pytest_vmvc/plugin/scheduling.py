"""How pytest-xdist spreads claims over workers: a pair is measured by one worker."""

from __future__ import annotations

import re
from typing import Any

from xdist.scheduler import LoadScopeScheduling


class PairScheduling(LoadScopeScheduling):
    """Everything about one pair goes to one worker, any other test to whichever is free."""

    def __init__(self, config: Any, log: Any, *, pairs: tuple[str, ...]) -> None:  # noqa: ANN401 - xdist has no types
        super().__init__(config, log)
        self._pair = re.compile(rf"\[({'|'.join(map(re.escape, pairs))})-[^]]*\]$")

    def _split_scope(self, nodeid: str) -> str:
        found = self._pair.search(nodeid)
        return found[1] if found else nodeid
