"""Which way a fix is to go to the nodes, and by which criteria: pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from livepatch.contents.words import CLASSES, Class
from livepatch.govern.criteria import Criteria, Criterion
from livepatch.govern.risk import Risk

__all__ = ["Classification", "classified"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What :func:`livepatch.classify` found.

    `decision` is ``"hot-patch"``, ``"hot-patch-with-quorum"`` (more people must approve it than usual) or
    ``"full-update"`` (the fix comes with a new release and a restart).  `met` are the criteria that are met, the
    gravest first; those of the decision's own class decided.  `open` are those that depend on facts that nobody knows,
    and that would decide otherwise.
    """

    patch_id: str
    package: str
    versions: str
    decision: Class
    met: tuple[Criterion, ...]
    open: tuple[Criterion, ...]
    risk: Risk
    criteria: str
    """Where the criteria come from."""

    @property
    def decided_by(self) -> tuple[Criterion, ...]:
        """The criteria that decided; none for a hot-patch that met none."""
        return tuple(each for each in self.met if each.decides == self.decision)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, fit for JSON."""
        facts = {name: {"value": fact.value, "source": fact.source} for name, fact in self.risk.facts().items()}
        return {
            "patch_id": self.patch_id,
            "package": self.package,
            "versions": self.versions,
            "decision": self.decision,
            "decided_by": [each.name for each in self.decided_by],
            "met": [_plain(each) for each in self.met],
            "open": [_plain(each) for each in self.open],
            "facts": facts,
            "criteria": self.criteria,
        }

    def __str__(self) -> str:
        """The decision, what decided, and the facts, each on a line."""
        lines = [f"{self.decision}: patch {self.patch_id} for {self.package} {self.versions}"]
        lines += [f"  because of {_told(each)}" for each in self.decided_by]
        lines += [] if self.decided_by else [f"  no criterion of {self.criteria} asks for more"]
        lines += [f"  {each.decides} if {each}: {_told(each)}" for each in self.open]
        lines += [f"  {name:<14} {fact}" for name, fact in self.risk.facts().items()]
        return "\n".join(lines)


def _told(criterion: Criterion) -> str:
    return f"{criterion.name}: {criterion.reason}" if criterion.reason else f"{criterion.name}: {criterion}"


def _plain(criterion: Criterion) -> dict[str, Any]:
    made = asdict(criterion)
    return {**made, "class": made.pop("decides")}


def classified(patch_id: str, package: str, versions: str, risk: Risk, criteria: Criteria) -> Classification:
    """The gravest class of all criteria that are met; a hot-patch if none is."""
    facts = {name: fact.value for name, fact in risk.facts().items()}
    answers = [(each, each.met(facts)) for each in criteria.criteria]
    met = sorted((each for each, answer in answers if answer), key=lambda each: -CLASSES.index(each.decides))
    decision = met[0].decides if met else CLASSES[0]
    graver = CLASSES.index(decision)
    return Classification(
        patch_id=patch_id,
        package=package,
        versions=versions,
        decision=decision,
        met=tuple(met),
        open=tuple(each for each, answer in answers if answer is None and CLASSES.index(each.decides) > graver),
        risk=risk,
        criteria=criteria.source,
    )
