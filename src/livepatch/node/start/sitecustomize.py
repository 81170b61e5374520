"""Found first by every interpreter that ``livepatch run`` starts: brings patches in before the program runs.

Interpreters look for a module of this name when they start.  One that it hides is run after it, as if it were not here.
"""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib need not be there yet


def _begin() -> None:
    try:
        from livepatch.node.boot import begin
    except ImportError as error:
        # The interpreter of another environment, perhaps: a tool that the program starts.
        sys.stderr.write(f"livepatch: {sys.executable} runs without the node's patches, for it has no {error.name}\n")
        if f'"pid": {os.getpid()},' in os.environ.get("LIVEPATCH_RUN", ""):
            sys.stderr.flush()
            os._exit(2)  # this is the program itself
        return
    begin()


def _run_the_hidden_one() -> None:
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


# The program finds the path as it would be without livepatch; children get it through the environment.
sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != _HERE]  # noqa: PTH100  # likewise
_begin()
_run_the_hidden_one()
