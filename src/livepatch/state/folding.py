"""What the records of a journal come to: how far each migration has got, and the version of each state.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from livepatch.errors import StateError, spelled

__all__ = ["Came", "Folded", "fold", "kept"]

Stage = Literal["before", "half up", "after", "half down", "stuck"]

_STAGES: dict[str, Stage] = {
    "intent": "before",
    "up": "half up",
    "done": "after",
    "down": "half down",
    "undone": "before",
    "stuck": "stuck",
}


@dataclass(frozen=True, slots=True)
class Came:
    """How far one migration has got.

    `was`: the version before it; `saved`: whether a checkpoint is in a file; `lowering`: whether it was on its way
    down.
    """

    run: str
    patch: str
    name: str
    version: int
    durable: bool
    process: str
    was: int | None = None
    stage: Stage = "before"
    ended: bool = False
    saved: bool = False
    lowering: bool = False
    objects: int = 0
    told: str = ""

    def __str__(self) -> str:
        return f"migration {self.name} {self.version} of patch {self.patch}"


@dataclass(frozen=True, slots=True)
class Folded:
    """All migrations by run, in the order in which they began, and the versions of what outlives processes."""

    runs: Mapping[str, Came]
    versions: Mapping[str, int]

    @property
    def unfinished(self) -> tuple[Came, ...]:
        """Those that are neither wholly before nor wholly after."""
        return tuple(came for came in self.runs.values() if came.stage in ("half up", "half down", "stuck"))

    def in_force(self, name: str) -> tuple[Came, ...]:
        """What has been done to a state that outlives processes, and not been undone."""
        return tuple(c for c in self.runs.values() if c.name == name and c.durable and c.stage == "after")


def fold(records: Iterable[Mapping[str, Any]]) -> Folded:
    """Read the records in the order in which they were written.

    Raises :class:`StateError` for one that has not what a record of its kind has: it was written by something else.
    """
    runs: dict[str, Came] = {}
    for record in records:
        _check(record)
        kind, run = record["kind"], record["run"]
        if kind == "intent":
            runs.pop(run, None)
            runs[run] = Came(
                run,
                record["patch"],
                record["name"],
                record["version"],
                record["durable"],
                record["process"],
                record.get("was"),
            )
        came = runs.get(run)
        if came is None or kind not in _STAGES:
            if came is not None and kind == "progress":
                runs[came.run] = replace(came, objects=record["objects"])
            continue
        runs[came.run] = replace(
            came,
            stage=_STAGES[kind],
            ended=kind == "undone",
            lowering=kind == "down" or (kind == "stuck" and came.lowering),
            saved=came.saved or bool(record.get("saved")),
            objects=record.get("objects", came.objects),
            told=record.get("told", came.told if kind != "undone" else ""),
        )
    versions = {}
    for came in runs.values():
        if came.durable and came.stage == "after":
            versions[came.name] = came.version
    return Folded(runs, versions)


_OF_EVERY = {"kind": str, "run": str}
_OF_INTENT = {"patch": str, "name": str, "version": int, "durable": bool, "process": str}
_PERHAPS = {"was": (int, type(None)), "saved": bool, "objects": int, "told": str}


def _check(record: Mapping[str, Any]) -> None:
    expected: dict[str, Any] = {**_OF_EVERY, **(_OF_INTENT if record.get("kind") == "intent" else {})}
    expected |= {"objects": int} if record.get("kind") == "progress" else {}
    expected |= {name: kind for name, kind in _PERHAPS.items() if name in record}
    for name, kind in expected.items():
        value = record.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise StateError(
                "the journal of the state directory is damaged",
                found=f"record {spelled(record.get('number'))}, whose {name} is {spelled(value)}",
                expected="records as livepatch writes them",
                action="bring the directory back from a copy; without one, find out at which version the data is, and "
                "begin with an empty directory",
            )


def kept(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The records that still say something: those of migrations that have not been undone, without their progress."""
    every = list(records)
    runs = fold(every).runs
    return [
        record
        for record in every
        if (came := runs.get(record.get("run", ""))) is not None and not came.ended and record.get("kind") != "progress"
    ]
