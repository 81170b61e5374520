"""A folder with a package, a fix and the plugin, and a session of pytest in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SPARED = ("hypothesispytest", "xdist", "anyio", "cacheprovider")  # plugins that would only cost time

NODE = """
    LIMIT = 123456
    TABLE = {}

    def admit(x, most=10):
        return "admitted"

    def size(x):
        return "old"

    def kind(x):
        return "old"

    def spare(x):
        return "old"

    class Pool:
        def add(self, x):
            return "old"
"""
FIXES = """
    import livepatch

    def fix_for(node):
        fix = livepatch.Patch("FIX", package="specimen", versions="==1.0")
        fix.replace(f"{node}:admit")(admit)
        fix.replace(f"{node}:Pool.add")(add)
        fix.set(f"{node}:LIMIT", 654321)
        return fix

    def admit(x, most=20):
        return "refused"

    def add(self, x):
        return "new"

    fix = fix_for("node")
    functions = livepatch.Patch("FUNCTIONS", package="specimen", versions="==1.0")
    functions.replace("node:admit")(admit)
    functions.replace("node:Pool.add")(add)
"""

HEAD = "import node\nfrom fixes import fix, functions\nimport pytest\nimport livepatch as library\n"


class Session(NamedTuple):
    status: int
    text: str

    def outcome(self, name: str) -> str:
        """What became of a test, as ``-v`` says it."""
        found = re.findall(rf"::{re.escape(name)} ([A-Z]+)", self.text)
        assert found, f"{name} is not in:\n{self.text}"
        return found[-1]

    def told(self, name: str) -> str:
        """What the session tells of a test that failed."""
        parts = re.split(r"^_{3,} (?:ERROR at \w+ of |ERROR collecting )?(\S+) _{3,}$", self.text, flags=re.MULTILINE)
        found = dict(zip(parts[1::2], parts[2::2], strict=True))
        assert name in found, f"{name} is not among {sorted(found)}:\n{self.text}"
        return found[name]


def folder_with(folder: Path, **files: str) -> Path:
    """A folder with a package, a fix, and the plugin as pip would have installed it."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    plugged = "[pytest11]\n" + "".join(f"{name} = {where}\n" for name, where in entry.items())
    for name, text in {
        "specimen-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: specimen\nVersion: 1.0\n",
        "plugged-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n",
        "plugged-1.0.dist-info/entry_points.txt": plugged,
        "pytest.ini": "[pytest]\n",
        "node.py": NODE,
        "fixes.py": FIXES,
        **{f"{name}.py": (HEAD if name.startswith("test") else "") + textwrap.dedent(t) for name, t in files.items()},
    }.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def session(folder: Path, *arguments: str, spare: tuple[str, ...] = SPARED) -> Session:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "--strict-markers", "--tb=short", "-rs",
         *(f"-pno:{name}" for name in spare), *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "src")]), "COLUMNS": "200"},
    )  # fmt: skip
    return Session(done.returncode, done.stdout + done.stderr)
