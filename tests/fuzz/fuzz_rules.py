"""Coverage-guided fuzzing of the readers of TOML files: policies, criteria, and what people know of a flaw.

    python -m pip install atheris          # CPython 3.11 to 3.13
    python tests/fuzz/fuzz_rules.py -max_total_time=300 -max_len=4096 -rss_limit_mb=512 -timeout=10 [SEEDS]

Any exception but PolicyError ends it with a traceback and leaves the input in a file beside.  Without SEEDS it
starts from one valid file of each kind.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from importlib import resources
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

with atheris.instrument_imports(include=["livepatch", "tomllib"]):
    from livepatch.compat.approvals import NOBODY, Case, judged
    from livepatch.compat.policy import read_policy
    from livepatch.compat.windows import moment_of
    from livepatch.documents.advisory import advisory_in
    from livepatch.govern.criteria import read_criteria

from livepatch.errors import PolicyError  # noqa: E402  # what it imports is not to be instrumented twice

NOW = moment_of("2026-12-31T23:59:59Z")
POLICY = b"""
[[protected]]
paths = ["nodeclient.consensus.*"]
approvals = 2
[[protocol]]
paths = ["nodeclient.wire"]
[[protocol.round_trip]]
encode = "nodeclient.wire:encode"
decode = "nodeclient.wire:decode"
values = "nodeclient.wire:examples"
[[approval]]
name = "consensus"
roles = { security-reviewer = 2, operator = 1 }
protected = true
state = ["reversible"]
class = ["hot-patch-with-quorum"]
cooling-off-hours = 24
max-age-days = 14
evidence = ["unit"]
[[window]]
days = ["tue"]
from = "22:00"
to = "04:30"
[[freeze]]
from = "2026-12-20T00:00:00Z"
to = "2027-01-04T00:00:00Z"
[emergency]
roles = { anybody = 1 }
"""
ABOUT = b"""
title = "Oversized lists"
description = "They are not refused."
published = "2026-11-20T12:00:00Z"
fixed = "2.1.1"
cwe = ["CWE-770"]
[publisher]
name = "The node project"
namespace = "https://node.example.org"
[[reference]]
url = "https://node.example.org/advisories/7"
[[timeline]]
at = "2026-11-18T09:00:00Z"
what = "Reported."
[source]
repository = "https://git.example.org/node"
before = "01"
after = "23"
[embargo]
until = "2026-12-01T00:00:00Z"
affected-paths = ["nodeclient/peers.py"]
"""


def read(data: bytes) -> None:
    """Each reader says what is wrong, or reads; and rules that were read can be judged by."""
    with contextlib.suppress(PolicyError):
        policy = read_policy(data, "policy")
        judged(policy, policy.demands, Case(protected=True, state="reversible"), NOBODY, NOW)
    for reader in (read_criteria, advisory_in):
        with contextlib.suppress(PolicyError):
            reader(data, "file")


if __name__ == "__main__":
    arguments = sys.argv
    if all(argument.startswith("-") for argument in arguments[1:]):
        seeds = Path(tempfile.mkdtemp(prefix="livepatch-fuzz-"))
        (seeds / "policy").write_bytes(POLICY)
        (seeds / "about").write_bytes(ABOUT)
        criteria = resources.files("livepatch.govern").joinpath("criteria.toml").read_bytes()
        (seeds / "criteria").write_bytes(criteria)
        arguments = [*arguments, str(seeds)]
    atheris.Setup(arguments, read)
    atheris.Fuzz()
