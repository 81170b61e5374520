"""The ten attacks of TUF, and others: each refused with TrustError before anything is compiled or imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.attacks.forgeries import ATTACKS, TOLD
from tests.cli.trees import AFTER, tree

ROOT = Path(__file__).resolve().parents[2]
GOOD = "the good file"
TEN = (
    "arbitrary software",
    "endless data",
    "extraneous dependencies",
    "fast-forward",
    "indefinite freeze",
    "malicious mirror",
    "mix-and-match",
    "rollback",
    "slow retrieval",
    "wrong software",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forgeries")
    tree(folder / "old")
    tree(folder / "new", AFTER, "2.1.1")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "attacks" / "forgeries.py", folder],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_good_file_goes_in_and_the_hook_sees_what_it_compiles(results):
    """Else the silence about the others would prove nothing."""
    good = results[GOOD]
    assert good["errors"] == []
    assert not good["untouched"]
    assert {"compile", "exec"} <= set(good["events"])


def test_every_attack_of_the_ten_is_tried(results):
    assert {name.partition(":")[0] for name in results} >= set(TEN)
    assert set(results) == {*ATTACKS, GOOD}


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_refused_before_anything_is_compiled(results, name):
    result = results[name]
    assert "TrustError" in result["errors"], result
    assert result["events"] == []
    assert result["untouched"]
    assert TOLD[name] in result["message"]
    for part in ("; found: ", "; expected: ", "; do: "):
        assert part in result["message"]
