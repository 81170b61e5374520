"""All that is known of a patch when its documents are written: the patch, what people know, and the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from livepatch.bundle.trust import targets
from livepatch.compat.windows import told_moment
from livepatch.contents.embargo import Embargo
from livepatch.contents.ownership import Owners
from livepatch.documents.advisory import Advisory, Reference
from livepatch.errors import PatchError
from livepatch.govern.classification import Classification
from livepatch.govern.data import state_of
from livepatch.govern.severity import Severity
from livepatch.patch import Patch

__all__ = ["Affected", "Dossier", "affected_by"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """The releases that have the flaw: named ones, or all from one on and before another.  Empty: no such end."""

    versions: tuple[str, ...] = ()
    introduced: str = ""
    fixed: str = ""


def affected_by(specifier: str, fixed: str) -> Affected:
    """The releases that a PEP 440 specifier names, as advisories write them.

    Raises :class:`PatchError` for one that cannot be written as releases by name or as one range, and if the release
    with the fix is no later one.
    """
    clauses = list(SpecifierSet(specifier))
    exact = [clause.version for clause in clauses if clause.operator == "==" and "*" not in clause.version]
    if fixed and Version(fixed) in map(Version, exact):
        raise _contradiction(specifier, fixed)
    if exact and len(exact) == len(clauses):
        return Affected(versions=tuple(dict.fromkeys(exact)), fixed=fixed)
    lower = [clause.version for clause in clauses if clause.operator == ">="]
    upper = [clause.version for clause in clauses if clause.operator == "<"]
    if len(lower) > 1 or len(upper) > 1 or len(lower) + len(upper) != len(clauses):
        raise PatchError(
            "these versions cannot be told as one range",
            found=specifier,
            expected="'==2.1.0', or a range such as '>=2.1,<2.1.1'",
            action="build the patch for versions that can, one patch for each range",
        )
    end = fixed or (upper[0] if upper else "")
    if end and lower and Version(end) <= Version(lower[0]):
        raise _contradiction(specifier, end)
    return Affected(introduced=lower[0] if lower else "0", fixed=end)


def _twice(key: str, found: str) -> PatchError:
    return PatchError(
        f"the patch and the file about the flaw contradict each other: {key}",
        found=found,
        expected="one of them silent, or both alike",
        action="leave it out of the file: what the patch says is signed",
    )


def _contradiction(specifier: str, fixed: str) -> PatchError:
    return PatchError(
        "the release with the fix has the flaw, or comes before it",
        found=f"fixed in {fixed}, a patch for {specifier}",
        expected="a later release",
        action="correct the release, or the versions of the patch",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """The facts.  `entries` are those of a record that are about this patch, in their order; `now` is when it is told.

    `severity` is what the advisory's vector says, and `classification` what livepatch has found, where somebody asked.
    """

    patch: Patch
    advisory: Advisory
    now: datetime
    severity: Severity | None = None
    cvss: Mapping[str, Any] | None = None
    classification: Classification | None = None
    entries: tuple[Mapping[str, Any], ...] = ()

    @property
    def digest(self) -> str:
        """What the patch file is known by."""
        assert self.patch.origin is not None
        return self.patch.origin.digest

    @property
    def moment(self) -> str:
        """When it is told."""
        return told_moment(self.now)

    @property
    def affected(self) -> Affected:
        """The releases that have the flaw."""
        return affected_by(self.patch.versions, self.advisory.fixed)

    @property
    def told_affected(self) -> str:
        """The releases that have the flaw, for people."""
        found = self.affected
        if found.versions:
            return ", ".join(found.versions)
        begin = f"from {found.introduced}" if found.introduced != "0" else "all"
        return f"{begin}, before {found.fixed}" if found.fixed else f"{begin} on" if begin != "all" else begin

    @property
    def package(self) -> str:
        """The canonical name of the package."""
        return canonicalize_name(self.patch.package)

    def purl(self, version: str = "") -> str:
        """The package URL, of one release."""
        return f"pkg:pypi/{self.package}" + (f"@{version}" if version else "")

    @property
    def ids(self) -> tuple[str, ...]:
        """What the flaw is called: the id of the patch and its aliases, a CVE id first."""
        every = dict.fromkeys((self.patch.id, *self.advisory.aliases))
        return tuple(sorted(every, key=lambda name: not name.startswith("CVE-")))

    @property
    def owners(self) -> Owners:
        """Who looks after the patch: as it says itself, and where it is silent, as people say.

        Raises :class:`PatchError` if the two contradict each other.
        """
        own, said = asdict(self.patch.owners), asdict(self.advisory.owner)
        for role in own:
            if own[role] and said[role] and own[role] != said[role]:
                raise _twice(f"owner.{role}", f"{own[role]!r} in the patch, and {said[role]!r}")
        return Owners(**{role: own[role] or said[role] for role in own})

    @property
    def embargo(self) -> Embargo | None:
        """What nobody is told before a date: the later one, if the patch and people name two.

        Raises :class:`PatchError` if the two contradict each other otherwise; it does not quote them.
        """
        own, said = self.patch.embargo, self.advisory.embargo
        if own is None or said is None:
            return own or said
        held, told = asdict(own), asdict(said)
        for name in held:
            if name != "until" and held[name] and told[name] and held[name] != told[name]:
                raise _twice(f"embargo.{name.replace('_', '-')}", "one text in the patch, and another")
        both = {name: held[name] or told[name] for name in held}
        return Embargo(**{**both, "until": max(own.until, said.until)})

    @property
    def may_tell_all(self) -> bool:
        """Whether there is no embargo, or none any more."""
        embargo = self.embargo
        return embargo is None or embargo.is_over(self.now)

    @property
    def references(self) -> tuple[Reference, ...]:
        """Where more stands."""
        return self.advisory.references

    @property
    def targets(self) -> tuple[str, ...]:
        """What the patch changes.  It shows where the hole is."""
        return targets(self.patch)

    @property
    def data(self) -> tuple[str, str]:
        """What becomes of data, in a word, and by what."""
        return state_of(self.patch)

    def done(self, *events: str) -> tuple[Mapping[str, Any], ...]:
        """What was done by some events, of those that ended well."""
        return tuple(e for e in self.entries if e["event"] in events and e["phase"] in ("done", "noted"))


def entries_about(patch: Patch, entries: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Those entries of a record that are about a patch."""
    return tuple(entry for entry in entries if entry.get("patch", {}).get("id") == patch.id)


def moment_in(entry: Mapping[str, Any]) -> datetime:
    """When an entry was made."""
    return datetime.fromisoformat(str(entry["at"])).astimezone(UTC)
