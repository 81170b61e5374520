"""What a node is told when it starts: one TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Ports are of 127.0.0.1; times are seconds; paths are relative to the file."""

    name: str
    validators: tuple[str, ...]
    network_key: str
    p2p: int
    rpc: int
    peers: tuple[int, ...]
    genesis: dict[str, int]
    data: Path
    block_time: float = 1.0
    round_timeout: float = 2.0
    secret: str = field(default="", repr=False)
    trust: str = ""
    """The trust root for patches; ``UNSIGNED`` takes any file, which is for tests; without one none are taken."""
    guard: float = 10.0
    """For how long a process has to live on after a patch went in."""
    fleet: str = ""
    """The store of the fleet whose rollouts the node takes part in; without one it takes part in none."""
    fleet_ttl: float = 60.0


def read(path: Path) -> Config:
    """The configuration in a file.  Raises OSError, ValueError, or TypeError for a field too many or missing."""
    given = tomllib.loads(path.read_text())
    for name in ("validators", "peers"):
        given[name] = tuple(given.get(name, ()))
    if not given["validators"]:
        raise ValueError("a chain needs validators")
    given["data"] = path.parent / given["data"]
    return Config(**given)
