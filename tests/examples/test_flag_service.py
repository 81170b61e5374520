"""The patch follows the file of flags: it runs as it lies there, where flagd's provider is installed."""

from __future__ import annotations

import importlib.util

import pytest
from tests.examples.running import EXAMPLES, run


@pytest.mark.slow
def test_the_patch_follows_the_file_and_keeps_its_mode_when_that_is_broken(tmp_path):
    pytest.importorskip("openfeature", reason="needs the extra openfeature")
    if importlib.util.find_spec("openfeature.contrib") is None:
        pytest.skip("needs openfeature-provider-flagd")
    done = run("-W", "ignore", EXAMPLES / "flag_service" / "node.py", cwd=tmp_path)  # other people's warnings
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "the file says off:  off admitted",
        "the file says on:   on refused",
        "the file says some: split(25%)",
        "the file is broken: split(25%)",
    ], done.stderr
