"""How pytest-xdist spreads claims: a pair is measured by one worker, or everything by each host."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
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


class HostScheduling:
    """Every host runs everything that it has collected, at once; none waits for another.

    A host that is gone is forgotten: what it had not run is not run. What pytest-xdist asks of a
    schedule is here; the rest of its protocol is for tests that move from one worker to another.
    """

    collection_is_completed = True

    def __init__(self, collected: Callable[[int], None], over: Callable[[], bool]) -> None:
        self._collected = collected
        self._over = over
        self._tests: dict[Any, int] = {}
        self._started: list[Any] = []
        self.nodes: list[Any] = []

    @property
    def tests_finished(self) -> bool:
        """Whether all hosts have ended."""
        return self._over()

    @property
    def has_pending(self) -> bool:
        """Whether anything was started."""
        return bool(self._started)

    def add_node(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """A host is there, and collects."""
        self.nodes.append(node)

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:  # noqa: ANN401
        """It has collected."""
        self._tests[node] = len(collection)
        self._collected(sum(self._tests.values()))

    def schedule(self) -> None:
        """Start those that have collected and were not started."""
        for node in self._tests:
            if node in self.nodes and node not in self._started:
                self._started.append(node)
                node.send_runtest_all()
                node.shutdown()

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:  # noqa: ANN401
        """One test is over: nothing depends on it."""

    def remove_node(self, node: Any) -> None:  # noqa: ANN401 - xdist has no types
        """It has ended."""
        self.nodes.remove(node)
