"""What a patch tells the world and should not: secrets, hosts, paths of machines, people, hints at an exploit.

It goes by patterns, so that it finds nothing proves nothing.  Public texts are looked through for all of it, and lines
that only the new sources have for secrets.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from livepatch.compat.report import Finding, Severity
from livepatch.contents.edits import ModuleEdit, Side
from livepatch.contents.public import PUBLIC
from livepatch.errors import shortened, spelled
from livepatch.patch import Patch

__all__ = ["lint"]

_AT_ONCE = 4_000  # characters of a line that are looked at together,
_TWICE = 400  # and how many of them again with those that follow: no pattern needs more
_EMBARGOED = "embargoed"


def _any(_: re.Match[str]) -> bool:
    return True


def _is_told(match: re.Match[str]) -> bool:
    """Whether an address is one of somebody's own: not one for documentation, nor this machine itself."""
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    documented = any(address in network for network in _DOCUMENTED if network.version == address.version)
    return not (documented or address.is_loopback or address.is_unspecified)


_DOCUMENTED = tuple(map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One kind of thing: a pattern for it, and which of what it matches is meant."""

    code: str
    pattern: re.Pattern[str]
    expected: str
    action: str
    severity: Severity = "error"
    meant: Callable[[re.Match[str]], bool] = _any


def _secret(pattern: str) -> _Rule:
    return _Rule(
        code="secret",
        pattern=re.compile(pattern),
        expected="nothing by which somebody could act",
        action="take it out, and revoke it: whoever has the file has it",
    )


def _host(pattern: str, meant: Callable[[re.Match[str]], bool] = _any) -> _Rule:
    return _Rule(
        code="host",
        pattern=re.compile(pattern),
        meant=meant,
        expected="no host of your own",
        action="leave it out, or take 'node.example.com'",
    )


_NAMED = r"(?i)\b(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?token|auth[_-]?token)\b"
_SECRETS = (
    _secret(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    _secret(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _secret(r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk-|pypi-)[A-Za-z0-9_-]{16,}"),
    _secret(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    _secret(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]+:[^\s/@]+@[^\s/]+"),
    _secret(_NAMED + r"""["']?\s*[:=]\s*["'][^"'\s]{6,}["']"""),
)
_INTERNAL = "internal|intranet|local|localdomain|lan|corp|private|home\\.arpa"
_IN_PUBLIC = (
    *_SECRETS,
    _secret(_NAMED + r"\s*[:=]\s*[^\s\"']{6,}"),
    _host(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w)", _is_told),
    _host(r"(?<![\w:])(?=[0-9a-fA-F]{0,4}:)[0-9a-fA-F:]{2,45}(?![\w:])", _is_told),
    _host(rf"(?i)\b(?:[a-z0-9-]{{1,63}}\.){{1,9}}(?:{_INTERNAL})\b"),
    _Rule(
        code="internal-path",
        pattern=re.compile(
            r"(?:(?:(?<![\w:/.])|(?<=file://))/(?:home|Users|root|srv|opt|var|etc|mnt|data|tmp|usr)/"
            r"|(?<![\w:/.])(?:~/|[A-Za-z]:\\|\\\\[\w.-]{1,64}\\))[^\s,;'\")]+"
        ),
        expected="no path of a machine",
        action="leave it out, or name the module",
    ),
    _Rule(
        code="person",
        pattern=re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}"),
        expected="nobody by address",
        action="leave it out; thank who has reported it in the advisory, if they wish",
    ),
    _Rule(
        code="exploit-hint",
        severity="warning",
        pattern=re.compile(
            r"(?i)\b(?:proof[ -]of[ -]concept|poc|exploit\w*|shellcode|payloads?|reproduc\w+|by sending|crafted|"
            r"trigger(?:s|ed|ing)? (?:by|with|when)|gadget|backdoor|brute[ -]?forc\w+)\b"
        ),
        expected="what users can do, and not how the hole is used",
        action="say what the fix does; keep how the hole is used until those who must have patched",
    ),
)


def lint(patch: Patch) -> tuple[Finding, ...]:
    """What should be out of a patch before it is given out, by weight; nothing of it is compiled or run."""
    found: dict[Finding, None] = {}
    for where, text in _public(patch):
        found.update(dict.fromkeys(_look(where, text, _IN_PUBLIC)))
    found.update(dict.fromkeys(_told_too_early(patch)))
    for role, text in asdict(patch.owners).items():  # whom to call may be an address: operators alone see it
        found.update(dict.fromkeys(_look(f"owners: {role}", text, _SECRETS)))
    for edit in patch.edits:
        before = {line for text in _sources(edit, edit.before, after=False) for line in text.splitlines()}
        for text in _sources(edit, edit.after, after=True):
            new = "\n".join(line for line in text.splitlines() if line not in before)
            found.update(dict.fromkeys(_look(edit.module, new, _SECRETS)))
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def _public(patch: Patch) -> Iterator[tuple[str, str]]:
    """The texts that others may see, and the reasons that reports give."""
    for name in PUBLIC:
        value = getattr(patch, name)
        for text in [value] if isinstance(value, str) else value:
            if name not in ("versions", "compatible_with"):  # specifiers, whose versions look like addresses
                yield name, text
    for waiver in patch.waivers:
        yield f"waiver of {waiver.target}", waiver.reason


def _told_too_early(patch: Patch) -> Iterator[Finding]:
    """Public texts, and names of probes, that hold what the patch itself puts under embargo."""
    if patch.embargo is None:
        return
    owners = ((f"owners: {role}", text) for role, text in asdict(patch.owners).items())
    probes = ((f"probe {each.name}", each.name) for each in patch.probes)
    for where, text in (*_public(patch), *owners, *probes):
        for name in patch.embargo.told_by(text):
            yield Finding(
                code=_EMBARGOED,
                severity="error",
                target=where,
                found=f"a text that stands under {name.replace('_', ' ')} in the patch's own embargo",
                expected=f"nothing of it before {patch.embargo.until}",
                action="leave it out: anybody may see this text",
            )


def _sources(edit: ModuleEdit, side: Side, *, after: bool) -> Iterator[str]:
    """All source text of one side."""
    yield from side.imports
    for statement in side.program:
        yield statement.text.source
    for function in edit.functions:
        text = function.after if after else function.before
        if text is not None:
            yield text.source
    if after:
        yield from (attribute.expression for attribute in edit.attributes)
        if edit.whole is not None:
            yield edit.whole


def _look(where: str, text: str, rules: Iterable[_Rule]) -> Iterator[Finding]:
    for piece in _pieces(text):
        found = [(rule, match) for rule in rules for match in filter(rule.meant, rule.pattern.finditer(piece))]
        secrets = [match.span() for rule, match in found if rule.code == "secret"]
        for rule, match in found:
            begin, end = match.span()
            hidden = any(begin < last and first < end for first, last in secrets)
            if hidden and rule.code != "secret":
                continue  # part of one
            yield Finding(
                code=rule.code,
                severity=rule.severity,
                target=where,
                # Whoever reads the output need not learn the secret.
                found=spelled(shortened(match[0], 5) if hidden else match[0]),
                expected=rule.expected,
                action=rule.action,
            )


def _pieces(text: str) -> Iterator[str]:
    """The lines; an endless one in pieces that overlap, for a pattern may take the square of the time."""
    for line in text.splitlines():
        for begin in range(0, max(len(line) - _TWICE, 1), _AT_ONCE - _TWICE):
            yield line[begin : begin + _AT_ONCE]
