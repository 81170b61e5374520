"""Every finding of the source is in the documents, with its severity and a way out, and no other."""

from __future__ import annotations

import ast
import functools
import re

from tests.docs.documents import DOCUMENTS, ROOT, SOURCE


def codes_in(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return [*codes_in(node.body), *codes_in(node.orelse)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def constant_of(tree: ast.Module, name: str) -> ast.expr | None:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return node.value
    return None


SAID_AS_BEFORE_DIFFERS = {"modified", "no-source"}  # causes in engine/ondisk.py that have no code of their own


def codes_of_the_call(node: ast.Call, mild: dict[str, str]) -> tuple[list[str], list[str]]:
    """The codes that a call in the source names, and the severities that they may have; none for any other call."""
    called = getattr(node.func, "id", getattr(node.func, "attr", ""))
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    if called == "row" and len(node.args) == 6:
        return codes_in(node.args[1]), codes_in(node.args[0])
    if called == "Finding" and "code" in named:
        return codes_in(named["code"]), codes_in(named["severity"])
    if called == "Obstacle":
        return codes_in(named["code"]), ["error", "warning"]  # an error in a process; a warning where there is none
    if called in ("Refusal", "_says") or (called == "replace" and "code" in named):
        codes = codes_in(named["code"] if "code" in named else node.args[0])
        return [code for code in codes if code not in SAID_AS_BEFORE_DIFFERS], [mild.get(c, "error") for c in codes]
    return [], []


@functools.cache
def findings_of_the_source() -> dict[str, set[str]]:
    """Every stable code, with the severities that it may have, as the calls in the source name them."""
    found: dict[str, set[str]] = {}
    milder = constant_of(ast.parse((SOURCE / "compat" / "checks.py").read_text(encoding="utf-8")), "_MILDER")
    assert milder is not None
    mild = ast.literal_eval(milder)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                codes, severities = codes_of_the_call(node, mild)
                for code in codes:
                    found.setdefault(code, set()).update(severities)
    return found


def findings_of_the_document() -> list[tuple[str, str, str, str]]:
    rows = []
    for line in (ROOT / "docs" / "findings.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 4:
            rows.append((cells[0].strip("`"), *cells[1:]))
    return rows


def test_the_source_is_read_as_it_should_be():
    found = findings_of_the_source()
    assert found["not-installed"] == {"error"}
    assert found["native"] == {"error"}
    assert found["alias-unproved"] == {"warning"}
    assert found["audit-hook"] == {"info"}
    assert found["foreign-change"] == {"error"}
    assert found["enum-changed"] == {"error", "warning"}
    assert found["upgraded-on-disk"] == {"error"}
    assert found["closures-unreached"] == {"error"}


def test_every_finding_is_documented_and_no_other():
    rows = [row[0] for row in findings_of_the_document()]
    assert len(rows) == len(set(rows))
    assert set(rows) == set(findings_of_the_source())


def test_every_finding_is_documented_with_its_severity_and_what_to_do():
    severities = findings_of_the_source()
    for code, severity, meaning, action in findings_of_the_document():
        assert set(severity.split(" or ")) == severities[code], code
        assert meaning, code
        assert action, code


def sections_of_findings() -> dict[str, str]:
    text = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^###? ([^\n]*)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE))


NOT_OF_AUTHORS = {
    "Policy", "Migrations of data", "A process without a patch", "After the switch",
    "The process, and what the switch does to it",
}  # fmt: skip
NOBODYS_FAULT = {"empty-patch", "unverified", "not-surveyed"}


def test_the_guide_for_authors_has_a_way_out_of_every_error_that_a_patch_may_meet():
    sections = sections_of_findings()
    assert NOT_OF_AUTHORS < sections.keys()
    of_authors = "".join(text for name, text in sections.items() if name not in NOT_OF_AUTHORS)
    met = {
        code
        for code, severity, *_ in findings_of_the_document()
        if "error" in severity and f"| `{code}` |" in of_authors
    }
    guide = (ROOT / "docs" / "patch-authors.md").read_text(encoding="utf-8")
    told_rows = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \| (.+) \|$", guide, re.MULTILINE)
    told = [code for codes, _ in told_rows for code in re.findall(r"`([a-z-]+)`", codes)]
    assert len(told) == len(set(told))
    assert met - set(told) == NOBODYS_FAULT
    assert set(told) <= set(findings_of_the_source())


def test_the_codes_that_other_documents_name_exist():
    known = set(findings_of_the_source())
    text = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
    in_brackets = set(re.findall(r"\(`([a-z]+(?:-[a-z]+)+)`\)", text))
    assert in_brackets <= known
