"""What the people do who look after the nodes, from another terminal: keys, patches of two releases, the CLI."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chia

OLD = Path(chia.__file__).parent.parent
"""2.6.1, as it is installed."""
NEW = "chia-blockchain==2.7.0"
"""What pip fetches."""
API = "chia.full_node.full_node_api:FullNodeAPI"
ROLES = {"author": "alice", "security-reviewer": "carol", "operator": "erin"}


@dataclass(frozen=True)
class Said:
    """What a command has said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """What it has said with --json."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Patch:
    """A signed and approved file."""

    id: str
    file: Path
    approvals: tuple[Path, ...]

    @property
    def options(self) -> str:
        """As ``livepatch apply`` takes it."""
        return " ".join(
            [shlex.quote(str(self.file)), *(f"--approval {shlex.quote(str(one))}" for one in self.approvals)]
        )


async def say(line: str, *, expected: int = 0, quietly: bool = False) -> Said:
    """What is typed at the terminal.  :class:`SystemExit` if its status is not the one that is expected."""
    print(f"$ livepatch {line}", flush=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "livepatch", *shlex.split(line)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    said = Said(process.returncode or 0, out.decode(), err.decode())
    wrong = said.status != expected
    if wrong or not quietly:
        print("".join(f"  {row}\n" for row in (said.out + said.err).splitlines()), end="", flush=True)
    if wrong:
        raise SystemExit(f"that was not expected: status {said.status} instead of {expected}")
    return said


async def keys(folder: Path) -> None:
    """Keys of four people, and a trust root that says who answers for what."""
    for name in ("root", *ROLES.values()):
        await say(f"keygen {folder / name}", quietly=True)
    added = " ".join(f"--add {role}={folder / name}.pub" for role, name in {"root": "root", **ROLES}.items())
    await say(f"trust init {folder}/trust.json --package chia-blockchain --expires 2199-01-01T00:00:00Z {added}")
    await say(f"trust sign {folder}/trust.json --key {folder / 'root'}", quietly=True)


async def made(folder: Path, name: str, targets: list[str], new: str | Path = NEW) -> Patch:
    """Build a patch of two releases, have it signed by all three, and approved by those who have not written it."""
    file = folder / f"{name}.lpatch"
    only = " ".join(f"--only {target}" for target in targets)
    built = await say(f"build {OLD} {new} --package chia-blockchain --id {name} {only} -o {file}", quietly=True)
    for row in built.out.splitlines():
        if row.strip().startswith(("taken:", "needed:")):
            print(row, flush=True)
    for who in ROLES.values():
        await say(f"sign {file} --key {folder / who}", quietly=True)
    approvals = []
    for role in ("security-reviewer", "operator"):
        approvals.append(folder / f"{name}.{role}.approval")
        await say(f"approve {file} --key {folder / ROLES[role]} -o {approvals[-1]}", quietly=True)
    return Patch(name, file, tuple(approvals))


def worse(folder: Path, module: str, function: str, line: str) -> Path:
    """A release that is 2.6.1 with one more line at the beginning of a function: what nobody should let in."""
    tree = folder / f"worse-{function}"
    for name in OLD.glob("chia*"):
        if name.is_dir() and name.name.partition("-")[0] in ("chia", "chia_blockchain"):
            shutil.copytree(name, tree / name.name, ignore=shutil.ignore_patterns("_tests", "__pycache__"))
    file = tree / f"{module.replace('.', '/')}.py"
    text = file.read_text(encoding="utf-8")
    start = text.index(f"    async def {function}(")
    body = text.index(":\n", text.index(") ->", start)) + 2
    file.write_text(f"{text[:body]}        {line}\n{text[body:]}", encoding="utf-8")
    return tree
