"""Documents for machines: OSV, OpenVEX, CSAF 2.0, and SLSA provenance.  Plain values, fit for JSON.

Sources: https://ossf.github.io/osv-schema/, https://github.com/openvex/spec, the OASIS standard CSAF 2.0, and
https://slsa.dev/provenance/v1.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from livepatch.compat.windows import told_moment
from livepatch.documents.dossier import Dossier
from livepatch.errors import PatchError

__all__ = ["csaf", "openvex", "osv", "provenance"]


_REVISIONS = 1000  # that a document has a line for
_DATABASES = ("CVE-", "GHSA-", "PYSEC-", "OSV-", "PSF-")


def osv(dossier: Dossier) -> dict[str, Any]:
    """The advisory in the Open Source Vulnerability format.  Raises :class:`PatchError` without an id that it takes."""
    advisory, affected = dossier.advisory, dossier.affected
    known = [name for name in dossier.ids if name.startswith(_DATABASES)]
    if not known:
        raise PatchError(
            "OSV takes no such id",
            found=", ".join(dossier.ids),
            expected=f"one that begins with {', '.join(_DATABASES)}",
            action="add the flaw's id in such a database to aliases in the file about the flaw",
        )
    package = {"ecosystem": "PyPI", "name": dossier.package, "purl": dossier.purl()}
    where: dict[str, Any] = {"package": package}
    if affected.versions:
        where["versions"] = list(affected.versions)
    else:
        events = [{"introduced": affected.introduced}, *([{"fixed": affected.fixed}] if affected.fixed else [])]
        where["ranges"] = [{"type": "ECOSYSTEM", "events": events}]
    where["database_specific"] = {"livepatch": {"digest": dossier.digest, "versions": dossier.patch.versions}}
    embargo = dossier.embargo
    credits_ = [{"name": embargo.reporter, "type": "REPORTER"}] if embargo is not None and embargo.reporter else []
    made: dict[str, Any] = {
        "schema_version": "1.6.0",
        "id": known[0],
        "aliases": [name for name in dossier.ids if name != known[0]],
        "published": told_moment(advisory.published),
        "modified": dossier.moment,
        "summary": advisory.title,
        "details": _details(dossier),
        "affected": [where],
        "references": [{"type": each.kind, "url": each.url} for each in dossier.references],
        **({"credits": credits_} if credits_ and dossier.may_tell_all else {}),
    }
    if dossier.severity is not None:
        kind = {"CVSS:3": "CVSS_V3", "CVSS:4": "CVSS_V4"}.get(dossier.severity.vector[:6], "CVSS_V2")
        made["severity"] = [{"type": kind, "score": dossier.severity.vector}]
    if advisory.cwe:
        made["database_specific"] = {"cwe_ids": list(advisory.cwe)}
    return made


def _details(dossier: Dossier) -> str:
    parts = [dossier.advisory.description]
    if dossier.advisory.workaround:
        parts.append(f"Workaround: {dossier.advisory.workaround}")
    return "\n\n".join(parts)


def openvex(dossier: Dossier) -> dict[str, Any]:
    """The status of the releases, as an OpenVEX document."""
    advisory, affected = dossier.advisory, dossier.affected
    flaw = {"name": dossier.ids[0], **({"aliases": list(dossier.ids[1:])} if dossier.ids[1:] else {})}
    statements = [
        {
            "vulnerability": flaw,
            "products": [{"@id": purl, "identifiers": {"purl": purl}} for purl in _purls(dossier)],
            "status": "affected",
            "action_statement": _action(dossier),
        }
    ]
    if affected.fixed:
        purl = dossier.purl(affected.fixed)
        statements.append(
            {"vulnerability": flaw, "products": [{"@id": purl, "identifiers": {"purl": purl}}], "status": "fixed"}
        )
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"{advisory.publisher.namespace}/vex/{dossier.patch.id}",
        "author": advisory.publisher.name,
        "timestamp": dossier.moment,
        "version": dossier.patch.release.revision,
        "tooling": f"livepatch {version('livepatch')}",
        "statements": statements,
    }


def _purls(dossier: Dossier) -> list[str]:
    affected = dossier.affected
    return [dossier.purl(each) for each in affected.versions] or [dossier.purl()]


def _action(dossier: Dossier) -> str:
    told = f"Apply the live patch {dossier.patch.id} ({dossier.digest}) to processes that run {dossier.patch.versions}"
    if dossier.affected.fixed:
        told += f", or install {dossier.package} {dossier.affected.fixed} and restart"
    return f"{told}." + (f" Until then: {dossier.advisory.workaround}" if dossier.advisory.workaround else "")


def csaf(dossier: Dossier) -> dict[str, Any]:
    """A CSAF 2.0 document of the category ``csaf_security_advisory``.

    Raises :class:`PatchError` for a revision that is far too high: the document has a line for each up to it.
    """
    advisory, affected, patch = dossier.advisory, dossier.affected, dossier.patch
    if patch.release.revision > _REVISIONS:
        raise PatchError(
            "CSAF tells the history of all revisions",
            found=f"revision {patch.release.revision}",
            expected=f"{_REVISIONS} or fewer",
            action="count the revisions of a patch from 1",
        )
    known = list(affected.versions) or [_vers(dossier)]
    bad = {f"{dossier.package}-{each}": each for each in known}
    products = [_product(dossier, key, each, exact=bool(affected.versions)) for key, each in bad.items()]
    good: list[str] = []
    if affected.fixed:
        good = [f"{dossier.package}-{affected.fixed}"]
        products.append(_product(dossier, good[0], affected.fixed, exact=True))
    flaw: dict[str, Any] = {
        "title": advisory.title,
        "notes": [{"category": "description", "text": advisory.description}],
        "product_status": {"known_affected": list(bad), **({"fixed": good} if good else {})},
        "remediations": _remediations(dossier, list(bad)),
    }
    cve, others = _cve(dossier)
    flaw.update({"cve": cve} if cve else {})
    if others:
        flaw["ids"] = [{"system_name": _system(each), "text": each} for each in others]
    if advisory.references:
        flaw["references"] = [{"summary": each.kind.capitalize(), "url": each.url} for each in advisory.references]
    if dossier.cvss is not None:
        key = "cvss_v3" if str(dossier.cvss.get("version", "")).startswith("3") else "cvss_v2"
        if not str(dossier.cvss.get("version", "")).startswith("4"):  # CSAF 2.0 came before CVSS 4
            flaw["scores"] = [{"products": list(bad), key: dict(dossier.cvss)}]
    publisher = {"category": "vendor", "name": advisory.publisher.name, "namespace": advisory.publisher.namespace}
    if advisory.publisher.contact:
        publisher["contact_details"] = advisory.publisher.contact
    revision = str(patch.release.revision)
    first = told_moment(advisory.published)
    current = max(dossier.moment, first)
    return {
        "document": {
            "category": "csaf_security_advisory",
            "csaf_version": "2.0",
            "publisher": publisher,
            "title": advisory.title,
            "notes": _notes(dossier),
            "tracking": {
                "id": patch.id,
                "status": "final",
                "version": revision,
                "initial_release_date": first,
                "current_release_date": current,
                "generator": {"engine": {"name": "livepatch", "version": version("livepatch")}},
                "revision_history": [
                    {"number": str(number), "date": date, "summary": f"Revision {number} of the live patch"}
                    for number, date in enumerate([first] * (patch.release.revision - 1) + [current], 1)
                ],
            },
        },
        "product_tree": {
            "branches": [
                {
                    "category": "vendor",
                    "name": advisory.publisher.name,
                    "branches": [{"category": "product_name", "name": dossier.package, "branches": products}],
                }
            ]
        },
        "vulnerabilities": [flaw],
    }


def _vers(dossier: Dossier) -> str:
    affected = dossier.affected
    bounds = [f">={affected.introduced}"] if affected.introduced != "0" else []
    bounds += [f"<{affected.fixed}"] if affected.fixed else []
    return "vers:pypi/" + ("|".join(bounds) or "*")


def _product(dossier: Dossier, key: str, release: str, *, exact: bool) -> dict[str, Any]:
    product: dict[str, Any] = {"name": f"{dossier.package} {release}", "product_id": key}
    if exact:
        product["product_identification_helper"] = {"purl": dossier.purl(release)}
    return {"category": "product_version" if exact else "product_version_range", "name": release, "product": product}


def _remediations(dossier: Dossier, products: list[str]) -> list[dict[str, Any]]:
    advisory, affected = dossier.advisory, dossier.affected
    made: list[dict[str, Any]] = [
        {
            "category": "mitigation",
            "details": f"Apply the live patch {dossier.patch.id} ({dossier.digest}); no restart is needed.",
            "product_ids": products,
            "restart_required": {"category": "none"},
        }
    ]
    if affected.fixed:
        made.append(
            {
                "category": "vendor_fix",
                "details": f"Install {dossier.package} {affected.fixed} and restart.",
                "product_ids": products,
                "restart_required": {"category": "service"},
            }
        )
    if advisory.workaround:
        made.append({"category": "workaround", "details": advisory.workaround, "product_ids": products})
    return made


def _notes(dossier: Dossier) -> list[dict[str, Any]]:
    advisory = dossier.advisory
    told = [
        ("summary", "Summary", advisory.description),
        ("details", "Expected behaviour", advisory.behaviour),
        ("details", "Side effects", advisory.side_effects),
        ("other", "Not yet known", "\n".join(advisory.unknown)),
    ]
    return [{"category": category, "title": title, "text": text} for category, title, text in told if text]


def _cve(dossier: Dossier) -> tuple[str, list[str]]:
    cves = [each for each in dossier.ids if each.startswith("CVE-")]
    return (cves[0] if cves else ""), [each for each in dossier.ids if each not in cves[:1]]


def _system(name: str) -> str:
    return {"GHSA": "GitHub Security Advisory", "PYSEC": "PyPI Advisory Database", "CVE": "CVE"}.get(
        name.partition("-")[0], "Tracking ID"
    )


def provenance(dossier: Dossier) -> dict[str, Any]:
    """An in-toto statement with SLSA provenance: from which sources the patch was built.

    Raises :class:`PatchError` if nobody has said from which revisions.
    """
    source, patch = dossier.advisory.source, dossier.patch
    if source is None:
        raise PatchError(
            "nobody has said from which revisions the patch was built",
            found="no table [source]",
            expected="repository, before and after",
            action="add it to the file about the flaw",
        )
    sides = [(source.before, "before"), (source.after, "after")]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": f"{patch.id}.lpatch", "digest": {"sha256": dossier.digest.removeprefix("sha256:")}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": f"{dossier.advisory.publisher.namespace}/livepatch-build/v1",
                "externalParameters": {
                    "package": dossier.package,
                    "versions": patch.versions,
                    "repository": source.repository,
                    **{side: revision for revision, side in sides},
                },
                "resolvedDependencies": [
                    {"uri": f"git+{source.repository}", "digest": {"gitCommit": revision}, "name": side}
                    for revision, side in sides
                ],
            },
            "runDetails": {
                "builder": {"id": dossier.advisory.publisher.namespace, "version": {"livepatch": version("livepatch")}},
                "metadata": {"invocationId": dossier.digest},
            },
        },
    }
