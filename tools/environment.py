#!/usr/bin/env python3
"""Make a virtual environment of the checkout, once, and run a command in it.

    environment.py NAME [--supports 3.11 3.12] [--extras a,b] [--install REQUIREMENT ...] [--pinned FILE] -- COMMAND ...

The environment is `.venvs/NAME`, made anew only when `pyproject.toml`, the interpreter or the requirements
change.
`venv` is asked for no pip of its own, because Debian splits ensurepip off; pip is lent from outside instead.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venvs"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14", "3.15")

_fetching_pip = threading.Lock()  # environments are made side by side

# Prints what must stay the same for an environment to be reused, and whether there is a pip to lend.
_DESCRIBE = """
import json, sys
try:
    import pip
    lends_pip = tuple(map(int, pip.__version__.split(".")[:2])) >= (22, 3)  # the first with --python
except ImportError:
    lends_pip = False
print(json.dumps([sys.version, sys.base_prefix, lends_pip]))
"""


class SetupError(Exception):
    """An environment could not be made; nothing is left that a later run would mistake for a whole one."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that answered when it was called."""

    series: str
    command: str
    identity: str
    lends_pip: bool


def find_interpreter(series: str) -> Interpreter | None:
    """Find the interpreter `pythonX.Y`, or None where it is absent or only a shim that does not answer."""
    command = f"python{series}"
    if shutil.which(command) is None:
        return None
    answer = subprocess.run([command, "-c", _DESCRIBE], capture_output=True, text=True, check=False, cwd=ROOT)
    if answer.returncode != 0:
        return None
    version, prefix, lends_pip = json.loads(answer.stdout)
    return Interpreter(series, command, f"{version} {prefix}", lends_pip)


def find_interpreters(supports: tuple[str, ...] = SUPPORTED) -> list[Interpreter]:
    """Find every interpreter that answers, lowest version first. Raises SetupError if there is none."""
    found = [interpreter for series in supports if (interpreter := find_interpreter(series))]
    if not found:
        raise SetupError(f"none of {', '.join('python' + series for series in supports)} answers")
    return found


def ensure(name: str, interpreter: Interpreter, requirements: list[str], pinned: Path | None = None) -> Path:
    """Make `.venvs/NAME` with these requirements unless it is there already, and return its directory.

    What the file `pinned` lists is installed first, as it stands, whatever else that would depend on.
    """
    directory = ENVIRONMENTS / name
    stamp = directory / "made-for.sha256"
    # An editable install names its checkout, so one that was copied along with it is not reused either.
    made_for = [str(ROOT), interpreter.identity, requirements, (ROOT / "pyproject.toml").read_text()]
    if pinned is not None:
        made_for.append(pinned.read_text())
    wanted = hashlib.sha256(json.dumps(made_for).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return directory
    _run([interpreter.command, "-m", "venv", "--clear", "--without-pip", str(directory)])
    python = str(directory / "bin" / "python")
    install = [*_pip_for(interpreter), "--python", python, "install", "--quiet"]
    if pinned is not None:
        _run([*install, "--no-deps", "--requirement", str(pinned)])
    _run([*install, *requirements])
    stamp.write_text(wanted)  # last, so that an interrupted set-up is begun again
    return directory


def activated(directory: Path) -> dict[str, str]:
    """Return the process's environment variables as `activate` would leave them."""
    variables = {key: value for key, value in os.environ.items() if key not in {"PYTHONHOME", "PYTHONPATH"}}
    variables["VIRTUAL_ENV"] = str(directory)
    variables["PATH"] = f"{directory / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
    return variables


def _pip_for(interpreter: Interpreter) -> list[str]:
    """Choose a pip that works under this interpreter: its own, or the newest, fetched by ours.

    Ours is not simply lent, because an old pip fails under a newer Python (Debian 12's 23.0 from 3.12 on).
    """
    if interpreter.lends_pip:
        return [interpreter.command, "-m", "pip"]
    target = ENVIRONMENTS / "pip"
    with _fetching_pip:
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _run([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(unfinished), "pip"])
            unfinished.rename(target)
    return [interpreter.command, str(target / "pip")]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SetupError(f"{' '.join(command)} ended with status {done.returncode}\n{done.stdout}")


def main(arguments: list[str]) -> int:
    """Run a command in an environment; its status is ours."""
    if "--" not in arguments:
        raise SystemExit(__doc__)
    split = arguments.index("--")
    options, command = arguments[:split], arguments[split + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="directory under .venvs")
    parser.add_argument("--supports", nargs="+", default=SUPPORTED, help="versions to choose the lowest from")
    parser.add_argument("--extras", default="", help="extras of the checkout, separated by commas")
    parser.add_argument("--install", nargs="+", default=[], help="further requirements")
    parser.add_argument("--pinned", type=Path, help="a file of requirements to install first, without what they need")
    asked = parser.parse_args(options)
    try:
        interpreter = find_interpreters(tuple(asked.supports))[0]
        print(f"setting up .venvs/{asked.name} with Python {interpreter.series}", file=sys.stderr, flush=True)
        checkout = f".[{asked.extras}]" if asked.extras else "."
        directory = ensure(asked.name, interpreter, ["--editable", checkout, *asked.install], asked.pinned)
    except SetupError as error:
        print(f"set-up failed: {error}", file=sys.stderr)
        return 2
    return subprocess.run(command, cwd=ROOT, env=activated(directory), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
