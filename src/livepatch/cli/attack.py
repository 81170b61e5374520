"""``livepatch attack``: attack a patch in a process of tests, and sign what came of it."""

from __future__ import annotations

import argparse
import importlib
from typing import TYPE_CHECKING, Any

from livepatch.cli.output import Ink, Style, add_color, add_json, aside, in_line, print_json, print_lines, visible
from livepatch.cli.trusting import add_signer, add_trust, signer_of, trust_of
from livepatch.errors import LivepatchError, PatchError, shortened, spelled

if TYPE_CHECKING:
    from livepatch.testing.attacking import Attacked

__all__ = ["DESCRIPTION", "EXAMPLE", "SUMMARY", "add_arguments", "run"]

SUMMARY = "attack a patch as its exploit, odd arguments, threads, failures and exhaustion would"
DESCRIPTION = """\
Import the package as it is installed here, and attack the patch in FILE with it: the
exploit before and after, arguments that nobody would pass, callers during switches,
exceptions, failures at each step, a full stack, little memory.  docs/testing.md says
what each of them is.  With --suite and a key, write signed evidence of the outcome.

The code of the package and of FILE is run, so somebody has to answer for FILE: those
who signed it (--trust), or you (--unsigned)."""
EXAMPLE = "livepatch attack fix.lpatch --trust trust.json --probe probes:hole"

_INKS: dict[str, Ink] = {"passed": "green", "failed": "red", "skipped": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", metavar="FILE", help="the patch file, or module:name of a patch written in code")
    parser.add_argument(
        "--probe",
        metavar="NAME",
        help="a function without parameters (module:name) that tries the flaw, and returns or raises what comes of it; "
        "by default the regression probes in FILE",
    )
    parser.add_argument(
        "--caller",
        action="append",
        default=[],
        metavar="NAME",
        help="a function without parameters to call during switches; by default the probe; may be given again",
    )
    parser.add_argument(
        "--instance",
        action="append",
        default=[],
        metavar="CLASS=NAME",
        help="the function (module:name) that makes an object of CLASS (module:name); may be given again",
    )
    parser.add_argument(
        "--refusal",
        action="append",
        default=[],
        metavar="NAME",
        help="an exception (module:name) that changed functions may raise, beside ValueError and TypeError; may be "
        "given again",
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="ATTACK", help="leave it out; may be given again"
    )
    parser.add_argument("--examples", type=int, default=100, metavar="N", help="drawn calls a function; by default 100")
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long callers, each child, and each drawn call in one may take; by default 30",
    )
    parser.add_argument("--unsigned", action="store_true", help="you answer for FILE yourself")
    add_trust(parser)
    parser.add_argument("--suite", metavar="NAME", help="write evidence for a suite of this name")
    add_signer(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to; by default FILE.NAME.evidence")
    add_color(parser)
    add_json(parser)


def run(given: argparse.Namespace) -> bool:
    """Attack.  Whether no attack has succeeded."""
    if given.suite is None and (given.key, given.command, given.output) != (None, None, None):
        raise PatchError(
            "it is not said what the evidence is for",
            found="a key, a command or an output without --suite",
            expected="--suite NAME",
            action="name the suite as policy does",
        )
    signer = signer_of(given) if given.suite is not None else None
    with aside():
        attacked = _attacked(given)
    written, unwritten = None, None
    if signer is not None:
        try:
            written = str(attacked.attest(given.file, key=signer, suite=given.suite, output=given.output))
        except LivepatchError as error:  # what came of it took minutes, and is told all the same
            unwritten = error
    _print(given, attacked, written)
    if unwritten is not None:
        raise unwritten
    return attacked.ok


def _print(given: argparse.Namespace, attacked: Attacked, written: str | None) -> None:
    if given.json:
        print_json({**attacked.to_dict(), "file": given.file, "evidence": written})
        return
    style = Style(given.color)
    first = str(attacked).partition("\n")[0]
    rows = [style(_INKS[each.verdict], "\n    ".join(visible(str(each)).split("\n"))) for each in attacked.results]
    told = [f"evidence: {attacked.result}, in {in_line(written)}"] if written is not None else []
    print_lines([style("green" if attacked.ok else "red", first), *(f"  {row}" for row in rows), *told])


def _attacked(given: argparse.Namespace) -> Attacked:
    """What came of it.  Modules of the package are imported, and code of theirs is run."""
    from livepatch.testing.attacking import attack
    from livepatch.testing.picture import modules_of

    patch, trust = _patch_of(given)
    for module in modules_of(patch):
        _imported(module, module)
    refusals = (ValueError, TypeError, *(_named(name) for name in given.refusal))
    return attack(
        patch,
        probe=_named(given.probe) if given.probe is not None else None,
        callers=[_named(name) for name in given.caller] or None,
        instances=dict(_instance(text) for text in given.instance),
        refusals=refusals,
        examples=given.examples,
        timeout=given.timeout,
        skip=given.skip,
        **({"trust": trust} if trust is not None else {}),
    )


def _patch_of(given: argparse.Namespace) -> tuple[Any, object]:
    """The patch, and who answers for it."""
    from livepatch.bundle.load import load
    from livepatch.bundle.trust import UNSIGNED
    from livepatch.patch import Patch

    trust: object = trust_of(given)
    if given.unsigned and trust is not None:
        raise PatchError(
            "it is not said who answers for the file",
            found="--trust and --unsigned",
            expected="one",
            action="leave one of the two out",
        )
    module, colon, _ = given.file.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")):
        trust = UNSIGNED if given.unsigned else trust
        return load(given.file, trust=trust), trust
    if given.suite is not None:
        raise PatchError(
            "evidence is of a patch file",
            found=f"--suite for {spelled(given.file)}, which is written in code",
            expected="a file, whose digest the evidence names",
            action="leave --suite out, or build the patch from two releases",
        )
    found = _named(given.file)
    found = found() if callable(found) and not isinstance(found, Patch) else found
    if not isinstance(found, Patch):
        raise PatchError(
            f"{given.file} is no patch",
            found=spelled(found),
            expected="a livepatch.Patch, or a function without parameters that gives one",
            action="correct the name",
        )
    return found, None


def _instance(text: str) -> tuple[str, Any]:
    name, equals, maker = text.partition("=")
    if not equals:
        raise PatchError(
            "--instance says not how",
            found=spelled(text),
            expected="CLASS=NAME, each as module:name",
            action="name the function that makes an object",
        )
    return name, _named(maker)


def _named(path: str) -> Any:
    """What ``module:name`` leads to."""
    module, colon, qualname = path.partition(":")
    found: Any = _imported(module, path) if colon else None
    for name in qualname.split("."):
        if not hasattr(found, name):
            raise PatchError(
                f"{path} leads nowhere",
                found=f"no {name!r}" if colon else "no colon",
                expected="module:name",
                action="correct the name",
            )
        found = getattr(found, name)
    return found


def _imported(module: str, path: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise PatchError(
            f"{path} cannot be imported",
            found=shortened(f"{type(error).__qualname__}: {error}", 300),
            expected="a module of the package, or one beside it, on Python's path",
            action="install the package here, or set PYTHONPATH; or correct the name",
        ) from error
