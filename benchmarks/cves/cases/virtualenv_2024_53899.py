# /// case
# id = "CVE-2024-53899"
# package = "virtualenv"
# vulnerable = "20.26.5"
# fixed = "20.26.6"
# what = "the path of an environment is run as shell commands when it is activated"
# shape = "new static methods that subclasses override, and templates that are no Python"
# requires = ["distlib==0.3.9", "filelock==3.16.1", "platformdirs==4.3.6"]
# modules = ["virtualenv", "virtualenv.activation"]
# expect = "refused"
# ///
"""Values were put between the quotes of a template; now they come with quotes of their own.

Half of the fix is in the templates, which the running process goes on reading from the vulnerable release: the new code
and the old templates together would quote twice.
"""

import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

from virtualenv.activation import BashActivator

ACTIVATOR = BashActivator(SimpleNamespace(prompt=None))


def _activated(folder: str) -> str:
    made = Path(tempfile.mkdtemp(), folder)
    (made / "bin").mkdir(parents=True)
    creator = SimpleNamespace(dest=made, bin_dir=made / "bin", env_name="it", pyenv_cfg={}, libs=[])
    creator.interpreter = SimpleNamespace(platform="linux")
    ACTIVATOR.generate(creator)
    shell = subprocess.run(
        ["bash", "-c", '. bin/activate; printf "%s" "$VIRTUAL_ENV"'],
        cwd=made,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    return "taken" if (made / "taken").exists() else shell.stdout.removeprefix(str(made.parent) + "/")


def exploit() -> bool:
    return _activated("x';touch taken;'") == "taken"


def regression() -> None:
    assert _activated("plain name") == "plain name"
