"""The machinery is loaded in steps that are small: few of its own parts come with any one of them."""

from __future__ import annotations

import subprocess
import sys

COUNT = """
import sys
from livepatch import loading
most, last = {}, set(sys.modules)
def note(**_):
    global last
    now = {name for name in sys.modules if name.startswith("livepatch.")}
    most[len(now - last)] = sorted(now - last)
    last = set(sys.modules)
loading.breathe = note
import livepatch
assert "livepatch.process.public" not in sys.modules
livepatch.apply
assert "livepatch.process.public" in sys.modules
note()
print(max(most), *most[max(most)])
"""


def test_no_step_loads_much():
    done = subprocess.run([sys.executable, "-c", COUNT], check=True, capture_output=True, text=True)
    count, *names = done.stdout.split()
    assert int(count) <= 3, f"name these one by one in loading.py: {names}"
