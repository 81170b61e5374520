"""Numbers about the node, in the text format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable


class Metrics:
    """Gauges that are asked when somebody looks."""

    def __init__(self) -> None:
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add one."""
        self._gauges[name] = (meaning, value)

    def text(self) -> str:
        """All of them."""
        return "".join(
            f"# HELP minichain_{name} {meaning}\n# TYPE minichain_{name} gauge\nminichain_{name} {value()}\n"
            for name, (meaning, value) in self._gauges.items()
        )
