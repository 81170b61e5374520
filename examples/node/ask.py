"""Ask a node of a network: ``python ask.py net/node-0 account name=alice`` prints what it answers, as JSON."""

from __future__ import annotations

import json
import sys
import tomllib
import urllib.request
from pathlib import Path


def main(folder: str, method: str, *given: str) -> int:
    """Call a method with parameters ``name=value``.  0, or 1 for an error that the node tells."""
    port = tomllib.loads((Path(folder) / "node.toml").read_text())["rpc"]
    pairs = (pair.split("=", 1) for pair in given)
    parameters = {name: int(value) if value.lstrip("-").isdecimal() else value for name, value in pairs}
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", json.dumps(request).encode(), 60) as response:
        answer = json.load(response)
    print(json.dumps(answer.get("result", answer.get("error"))))
    return int("error" in answer)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
