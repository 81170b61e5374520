"""A node whose patch follows a flag service: flagd in file mode, so the service is a file that somebody edits."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import structlog
from fixes import fix
from nodeclient.mempool import Mempool
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

import livepatch
from livepatch.integrations.openfeature import Follower

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

pool, huge = Mempool(), bytes(1_000_000)
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "flags.json"
    shutil.copy(Path(__file__).with_name("flags.json"), file)
    api.set_provider(FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(file)))
    follower = Follower()
    applied = livepatch.apply(fix)

    def edit(variant: str) -> None:
        """What an operator does with an editor; flagd looks at the file's time every second."""
        flags = json.loads(file.read_text())
        flags["flags"]["transaction-size"]["defaultVariant"] = variant
        file.write_text(json.dumps(flags))

    def becomes(mode: object) -> None:
        """Wait until the patch has followed."""
        end = time.monotonic() + 30
        while applied.mode != mode and time.monotonic() < end:
            time.sleep(0.02)

    becomes("off")
    print("the file says off: ", applied.mode, pool.admit(huge))
    edit("on")
    becomes("on")
    print("the file says on:  ", applied.mode, pool.admit(huge))
    edit("some")
    becomes(livepatch.split(25))
    print("the file says some:", applied.mode)
    file.write_text("this is no file of flags")
    time.sleep(2.5)
    print("the file is broken:", applied.mode)
    follower.close()
    api.shutdown()
