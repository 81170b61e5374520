"""Where everything about a rollout lies in the shared state.

What nodes have to read begins with ``told``, what controllers have to read with ``heard``; what only people look at,
and what controllers settle among themselves, lies elsewhere, so that nobody is woken by it.
"""

from __future__ import annotations

from livepatch.fleet.state import Store, key_of, names_in

__all__ = [
    "HEARD",
    "TOLD",
    "command_key",
    "commands_of",
    "directive_key",
    "drill_key",
    "drilled_key",
    "drilled_of",
    "flag_key",
    "heard_of",
    "judged_key",
    "judged_of",
    "lease_key",
    "measured_of",
    "node_key",
    "passed_key",
    "passed_of",
    "retired_key",
    "rollouts_in",
    "terms_key",
]

TOLD = "told"
HEARD = "heard"


def terms_key(rollout: str) -> str:
    """What nodes have to know of a rollout."""
    return key_of(TOLD, rollout, "terms")


def directive_key(rollout: str) -> str:
    """How it stands."""
    return key_of(TOLD, rollout, "directive")


def heard_of(rollout: str) -> str:
    """What all begins with that its controllers have to read."""
    return key_of(HEARD, rollout) + "/"


def node_key(rollout: str, node: str) -> str:
    """The newest report of a node."""
    return key_of(HEARD, rollout, "nodes", node)


def command_key(rollout: str, name: str) -> str:
    """One command."""
    return key_of(HEARD, rollout, "commands", name)


def commands_of(rollout: str) -> str:
    """What commands begin with."""
    return key_of(HEARD, rollout, "commands") + "/"


def retired_key(rollout: str, node: str) -> str:
    """Who has said that a node does not exist any more."""
    return key_of(HEARD, rollout, "retired", node)


def measured_of(rollout: str, node: str = "") -> str:
    """What a node has measured, or what all such keys begin with."""
    return key_of("measured", rollout, node) if node else key_of("measured", rollout) + "/"


def passed_of(rollout: str) -> str:
    """What the keys of directives begin with that have been published."""
    return key_of("passed", rollout) + "/"


def passed_key(rollout: str, revision: int) -> str:
    """A directive that has been published."""
    return key_of("passed", rollout, f"{revision:012}")


def judged_of(rollout: str) -> str:
    """What the keys of judgements begin with."""
    return key_of("judged", rollout) + "/"


def judged_key(rollout: str, opened: int, look: int) -> str:
    """The judgement of one look at a stage."""
    return key_of("judged", rollout, f"{opened:06}-{look:06}")


def lease_key(rollout: str) -> str:
    """Which controller acts."""
    return key_of("held", rollout, "lease")


def flag_key(flag: str) -> str:
    """The rollout that has used a flag."""
    return key_of("flags", flag)


def drill_key(drill: str) -> str:
    """That a drill is asked for."""
    return key_of(TOLD, drill, "drill")


def drilled_key(drill: str, node: str) -> str:
    """What came of a drill at a node."""
    return key_of("drills", drill, node)


def drilled_of(drill: str) -> str:
    """What those of a drill begin with."""
    return key_of("drills", drill) + "/"


def rollouts_in(store: Store) -> tuple[str, ...]:
    """The ids of the rollouts that have begun, in their order.  Raises :class:`StateError`."""
    found = (names_in(entry.key) for entry in store.entries(f"{TOLD}/"))
    return tuple(sorted(names[1] for names in found if len(names) == 3 and names[2] == "terms"))
