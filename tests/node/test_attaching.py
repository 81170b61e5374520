"""An agent for a process that runs without one: where the interpreter can do that, and a clear word where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.node.clients import ADMIT

from livepatch.cli.main import main

pytestmark = pytest.mark.usefixtures("events")
can = pytest.mark.skipif(not hasattr(sys, "remote_exec"), reason="CPython 3.14 and later")
PROGRAM = textwrap.dedent("""\
    import sys, time
    from poolclient import pool
    print("ready", flush=True)
    seen = ""
    while True:
        now = pool.admit(11)
        if now != seen:
            print(now, flush=True)
        seen = now
        time.sleep(0.01)
""")


@pytest.fixture
def program(client, tmp_path) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join([str(tmp_path / "old"), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    ) as made:
        assert made.stdout is not None
        assert [made.stdout.readline() for _ in range(2)] == ["ready\n", "admitted\n"]
        yield made
        made.kill()


@can
def test_a_process_that_runs_takes_patches_from_then_on(program, client, tmp_path, capsys):
    fix, store = client.fix("A", ADMIT, signers=""), str(tmp_path / "store")
    attach = ["attach", str(program.pid), "--store", store, "--unsigned"]
    assert main(attach) == 0
    assert f"process {program.pid} has an agent" in capsys.readouterr().out
    assert main(["apply", str(fix), "--node", store]) == 0
    assert program.stdout.readline() == "refused\n"
    assert main(["revert", "A", "--node", store]) == 0
    assert program.stdout.readline() == "admitted\n"
    assert main(attach) == 3
    assert "has an agent already" in capsys.readouterr().err
    assert {each.name for each in Path(store).iterdir() if each.name.startswith(".")} == set()


@can
def test_what_is_in_the_way_there_is_told_here(program, tmp_path, capsys):
    store = tmp_path / "store"
    store.mkdir(mode=0o777)
    store.chmod(0o777)
    assert main(["attach", str(program.pid), "--store", str(store), "--unsigned"]) == 2
    assert "that nobody else may write to" in capsys.readouterr().err
    assert program.poll() is None


@can
def test_a_process_that_does_not_come_to_it_never_does(client, tmp_path, capsys):
    stuck = "import time; print('ready', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", stuck], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(19)  # SIGSTOP
        told = main(["attach", str(program.pid), "--store", str(tmp_path / "store"), "--unsigned", "--wait", "0.2"])
        program.kill()
    assert told == 3
    assert "has not come to it" in capsys.readouterr().err


@can
@pytest.mark.parametrize("pid", ["1073741823", "self"])
def test_what_is_no_such_process_is_told(tmp_path, capsys, pid):
    with subprocess.Popen(["sleep", "60"]) as other:
        told = main(
            ["attach", str(other.pid) if pid == "self" else pid, "--store", str(tmp_path / "store"), "--unsigned"]
        )
        other.kill()
    assert told == 3
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.skipif(hasattr(sys, "remote_exec"), reason="what older ones say")
def test_an_older_python_says_so(tmp_path, capsys):
    assert main(["attach", str(os.getpid()), "--store", str(tmp_path / "store"), "--unsigned"]) == 3
    told = capsys.readouterr().err
    assert "expected: CPython 3.14 or later" in told
    assert "livepatch run" in told
    assert not (tmp_path / "store").exists()


def test_somebody_has_to_answer_for_files(tmp_path, capsys):
    assert main(["attach", str(os.getpid()), "--store", str(tmp_path / "store")]) == 1
    assert "who answers for patches" in capsys.readouterr().err
    for wrong in ("0", "x", "-1"):
        with pytest.raises(SystemExit):
            main(["attach", wrong, "--store", "store", "--unsigned"])
