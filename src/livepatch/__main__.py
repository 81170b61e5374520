"""``python -m livepatch``: the command line."""

from livepatch.cli.main import main

raise SystemExit(main())
