"""Do the classes around a method still agree on what it takes?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from livepatch.compat.report import Finding
from livepatch.compat.rows import row
from livepatch.compat.signature import broken_calls
from livepatch.engine.code import Parameter
from livepatch.engine.facts import TargetFacts

__all__ = ["relative_findings"]

Parameters = tuple[Parameter, ...]


def relative_findings(facts: TargetFacts, changed: Mapping[str, Parameters]) -> Iterator[Finding]:
    """What a changed signature comes to for the relatives of a method.

    `changed` gives what functions take that the patch changes, by name.  Only what fitted before is told: classes that
    never agreed are not this patch's affair.
    """
    old, new = facts.parameters
    if old == new:
        return
    for relative in facts.relatives:
        takes = changed.get(relative.name, relative.parameters)
        if relative.relation == "is overridden by":
            misses = _newly(broken_calls(old, relative.parameters), broken_calls(new, takes))
            if misses:
                yield row(
                    "warning",
                    "override-behind",
                    facts.target,
                    f"{relative.name} ({relative.file}:{relative.line}) overrides it and takes no {_listed(misses)}",
                    "overrides that take what the new side takes",
                    "see whether the fix calls it so on such an object; then change the override in the patch, too",
                )
            continue
        misses = _newly(broken_calls(relative.parameters, old), broken_calls(takes, new))
        if misses:
            yield row(
                # A fix built from the upstream release is what the package itself does from then on.
                "warning" if facts.proved else "error",
                "contract-broken",
                facts.target,
                f"it {relative.relation} {relative.name} ({relative.file}:{relative.line}), "
                f"whose callers may make {_listed(misses)}",
                "every call that the classes around it promise",
                "give new parameters defaults, and keep the old names",
            )


def _newly(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    return [problem for problem in after if problem not in before]


def _listed(problems: list[str]) -> str:
    more = f", and {len(problems) - 2} more" if len(problems) > 2 else ""
    return "; ".join(problems[:2]) + more
