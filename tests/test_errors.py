"""Every error that livepatch raises on purpose says what was found, what was expected, and what to do."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import livepatch
from livepatch import errors
from livepatch.bundle.keyfiles import make_key
from livepatch.bundle.keys import PublicKey
from livepatch.cli.main import main
from livepatch.errors import LivepatchError
from livepatch.govern import audit

SOURCE = Path(livepatch.__file__).parent
PARTS = {"found", "expected", "action"}
KINDS = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, LivepatchError) and not issubclass(kind, errors.IncompatibleError)
}


def raised_without_a_part() -> Iterator[str]:
    """Where an error is made with less than the three; one that is handed them by ``**`` is somebody else's."""
    for path in sorted(SOURCE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS:
                given = {keyword.arg for keyword in call.keywords}
                if None not in given and not given >= PARTS:
                    yield f"{path.relative_to(SOURCE)}:{call.lineno}: no {', '.join(sorted(PARTS - given))}"


def test_no_error_is_raised_without_one_of_the_three() -> None:
    assert "PatchError" in KINDS
    assert list(raised_without_a_part()) == []


def patch(**changes: object) -> livepatch.Patch:
    return livepatch.Patch(**{"id": "ID", "package": "specimen", "versions": "==1.0", **changes})  # type: ignore[arg-type]


def migrating(**changes: object) -> None:
    given = {"name": "index", "version": 1, "up": lambda: None, "down": lambda: None, **changes}
    patch().migrate(given.pop("name"), **given)  # type: ignore[arg-type]


ATTEMPTS: dict[str, Callable[[], object]] = {
    "Patch(id)": lambda: patch(id="a b"),
    "Patch(package)": lambda: patch(package="-"),
    "Patch(versions)": lambda: patch(versions="1.0"),
    "Patch(versions) empty": lambda: patch(versions=""),
    "Patch(versions) commas": lambda: patch(versions=","),
    "Patch(flag)": lambda: patch(flag=""),
    "Patch(requires)": lambda: patch(requires=["ID"]),
    "Patch(compatible_with)": lambda: patch(compatible_with="newest"),
    "replace": lambda: patch().replace("m"),
    "replace(expect)": lambda: patch().replace("m:f", expect="cp311"),
    "replace(expect) empty": lambda: patch().replace("m:f", expect=[]),
    "set": lambda: patch().set("m:", 1),
    "wrap": lambda: patch().wrap(":f"),
    "add": lambda: patch().add("m f", N=1),
    "add nothing": lambda: patch().add("m"),
    "add odd": lambda: patch().add("m", **{"a b": 1}),
    "migrate(version)": lambda: migrating(version=0),
    "migrate(name)": lambda: migrating(name="a b"),
    "migrate(budget)": lambda: migrating(budget=0),
    "migrate(follows)": lambda: migrating(version=2, follows=[3]),
    "migrate(of)": lambda: migrating(of=int),
    "migrate(touches)": lambda: migrating(touches={"more": []}),
    "split": lambda: livepatch.split(500),
    "split(key)": lambda: livepatch.split(5, key=""),
    "at": lambda: livepatch.at(-1, source=lambda: 1),
    "shadow(limit)": lambda: livepatch.Shadow(limit=0),
    "shadow(share)": lambda: livepatch.Shadow(share=2),
    "shadow(keep)": lambda: livepatch.Shadow(keep=-1),
    "apply(mode)": lambda: livepatch.apply(patch(), mode="no"),  # type: ignore[arg-type]
    "apply(consistency)": lambda: livepatch.apply(patch(), consistency="x"),  # type: ignore[arg-type]
    "apply(timeout)": lambda: livepatch.apply(patch(), timeout=-1),
    "apply(max_pause)": lambda: livepatch.apply(patch(), max_pause=-1),
    "apply(max_rest)": lambda: livepatch.apply(patch(), max_rest=-1),
    "revert(max_rest)": lambda: livepatch.revert("CVE-2026-1", max_rest=-1),
    "apply(replaces)": lambda: livepatch.apply(patch(), replaces=["nowhere"]),
    "apply(file)": lambda: livepatch.apply("nowhere.lpatch"),
    "apply": lambda: livepatch.apply(patch()),
    "check(file)": lambda: livepatch.check("nowhere.lpatch"),
    "load": lambda: livepatch.load("nowhere.lpatch"),
    "save": lambda: patch().save("nowhere/fix.lpatch"),
    "build": lambda: livepatch.build("nowhere", "nowhere", package="specimen"),
    "revert": lambda: livepatch.revert("nowhere"),
    "cancel": lambda: livepatch.cancel("nowhere"),
    "flags": lambda: livepatch.flags["nowhere"],
    "flags =": lambda: livepatch.flags.__setitem__("nowhere", "on"),
    "fingerprint": lambda: livepatch.fingerprint("nowhere:f"),
    "protect": lambda: livepatch.protect("a b"),
    "Measured": lambda: livepatch.Measured("x"),  # type: ignore[arg-type]
    "Rule": lambda: livepatch.Rule("x"),
    "Rule(above)": lambda: livepatch.Rule("x", above=float("nan")),
    "HealthProbe": lambda: livepatch.HealthProbe("*", int),
    "Watchdog": lambda: livepatch.Watchdog(interval=0),
    "load_rules": lambda: livepatch.load_rules("nowhere.toml"),
    "soak": lambda: livepatch.soak(patch(), rules=[]),
    "Release(channel)": lambda: livepatch.Release(channel="a b"),
    "Release(revision)": lambda: livepatch.Release(revision=0),
    "Release(expires)": lambda: livepatch.Release(expires="soon"),
    "Release(nodes)": lambda: livepatch.Release(nodes=("a", "a")),
    "TrustRoot.load": lambda: livepatch.TrustRoot.load("nowhere.json"),
    "TrustRoot.parse": lambda: livepatch.TrustRoot.parse(b"{}"),
    "sign": lambda: livepatch.sign("nowhere.lpatch", key="nowhere"),
    "record_to": lambda: livepatch.record_to("record", key="nowhere"),
    "record_to(who)": lambda: livepatch.record_to("record", key="nowhere", who=" "),
    "record_to(origin)": lambda: livepatch.record_to("record", key=str(make_key("node") and "node"), origin="a b"),
    "audit.verify": lambda: audit.verify("nowhere"),
    "audit.verify(key)": lambda: audit.verify("nowhere", key="a+b+c"),
    "peers.read": lambda: livepatch.peers.read(b"\x00"),
    "peers.Speaker": lambda: livepatch.peers.Speaker(["tx"]),
    "PublicKey": lambda: PublicKey(b""),
    "PublicKey weak": lambda: PublicKey(bytes(32)),
    "PublicKey.of_hex": lambda: PublicKey.of_hex("no"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_what_is_given_wrongly_is_told_with_all_three(
    attempt: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LivepatchError) as caught:
        attempt()
    error = caught.value
    assert error.found
    assert error.expected
    assert error.action
    assert livepatch.status() == ()


OF_ANOTHER_TYPE: dict[str, Callable[[], object]] = {
    "folder": lambda: audit.verify(5),  # type: ignore[arg-type]
    "folder ": lambda: audit.verify(b"x"),  # type: ignore[arg-type]
    "key": lambda: audit.verify("nowhere", key=b"x"),  # type: ignore[arg-type]
    "witnesses": lambda: audit.verify("nowhere", witnesses=[5]),  # type: ignore[list-item]
    "checkpoints": lambda: audit.verify("nowhere", checkpoints=[5]),  # type: ignore[list-item]
    "passphrase": lambda: livepatch.sign("nowhere", key="nowhere", passphrase=b"x"),  # type: ignore[arg-type]
    "key ": lambda: livepatch.sign("nowhere", key=bytes(32)),  # type: ignore[arg-type]
    "key  ": lambda: livepatch.record_to("nowhere", key=5),  # type: ignore[arg-type]
    "path": lambda: livepatch.record_to(5, key="nowhere"),  # type: ignore[call-overload]
    "data": lambda: livepatch.TrustRoot.parse("{}"),  # type: ignore[arg-type]
    "nodes": lambda: livepatch.Release(nodes=["a"]),  # type: ignore[arg-type]
    "trust": lambda: livepatch.load("nowhere", trust="trust.json"),
}


@pytest.mark.parametrize(("argument", "attempt"), OF_ANOTHER_TYPE.items(), ids=OF_ANOTHER_TYPE.keys())
def test_an_argument_of_another_type_is_named(
    argument: str, attempt: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=f"{argument.strip()} must be"):
        attempt()
    assert list(tmp_path.iterdir()) == []


COMMANDS = (
    "sign fix.lpatch",
    "sign fix.lpatch --key nowhere",
    "sign fix.lpatch --command x",
    "show nowhere",
    "check nowhere --package-dir .",
    "verify nowhere --trust nowhere",
    "keygen nowhere/key",
    "keygen key --encrypt",
    "trust show nowhere",
    "trust init new --package a --expires soon",
    "trust init new --package a --expires soon --add boss=x",
    "trust init new --package a --expires soon --threshold root=x",
    "trust init new --package a --expires soon --threshold root=2",
    "audit verify nowhere",
    "audit verify nowhere --key a+b+c",
    "audit show nowhere",
    "audit export nowhere",
    "build nowhere nowhere --package a",
    "callers a:b --package-dir nowhere",
    "graph --root a:b --package-dir nowhere",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_given_wrongly_says_all_three(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) in (1, 2)
    told = capsys.readouterr().err
    for part in ("; found: ", "; expected: ", "; do: "):
        assert part in told
    assert list(tmp_path.iterdir()) == []
