"""Events over a fork: a log's lock that another thread holds would stay taken in the child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, threading
import structlog
from livepatch.events import emit

inside = threading.Event()
class Slow:
    def write(self, text):
        inside.set()
        threading.Event().wait(0.3)  # the print logger's own lock is held meanwhile
    def flush(self): pass
structlog.configure(logger_factory=structlog.PrintLoggerFactory(Slow()))
thread = threading.Thread(target=emit, args=("one",))
thread.start()
assert inside.wait(10)
child = os.fork()
if child == 0:
    emit("two")
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_forked_while_another_thread_logs_can_log() -> None:
    source = str(Path(__file__).resolve().parent.parent / "src")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr
