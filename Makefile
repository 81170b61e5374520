# Every target does its own set-up: all that is needed is a Python from 3.11 with pip, and a package index.

# python3 alone will not do: with several interpreters installed it may be an old one.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3.15 python3; do \
            $$p -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
PYTHON := $(or $(PYTHON),$(error no Python 3.11 or newer with pip answers; set PYTHON=/path/to/python))
ENVIRONMENT := $(PYTHON) tools/environment.py

.DEFAULT_GOAL := help
.PHONY: help demo demo-rounds demo-chia demo-fleet test test-all coverage lint site man format bench peers graphs cves match mutants clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo:  ## patch a vulnerable aiohttp server while it serves requests, then take the patch back
	@$(ENVIRONMENT) demo --supports 3.11 3.12 3.13 --install aiohttp==3.9.1 -- python examples/aiohttp_traversal/demo.py

demo-rounds:  ## patch the server of the demo again and again, and set the p99 of its clients beside the time before
	@$(ENVIRONMENT) demo --supports 3.11 3.12 3.13 --install aiohttp==3.9.1 -- \
	  python examples/aiohttp_traversal/rounds.py

demo-chia:  ## two live nodes of a real chain: patch, refuse, roll back, kill -9, revert, with blocks and requests flowing
	@$(ENVIRONMENT) chia --supports 3.11 3.12 3.13 --pinned examples/chia/requirements.txt --install pip -- \
	  python examples/chia/demo.py

demo-fleet:  ## roll a fix out to a fleet of nodes in stages while its controller is killed; a bad one stops by itself
	@$(ENVIRONMENT) demo-fleet --supports 3.11 3.12 3.13 -- python examples/fleet/demo.py --nodes 8

test:  ## run the tests under every Python from 3.11 that is installed
	@$(PYTHON) tools/test_everywhere.py

test-all:  ## the same with the slow tests
	@$(PYTHON) tools/test_everywhere.py -m ""

coverage:  ## count which lines and branches of the core the tests reach, and fail below 95 % of one of its packages
	@$(PYTHON) tools/measure_coverage.py

lint:  ## ruff, its formatter and mypy
	@$(ENVIRONMENT) lint --extras lint,test,bench,openfeature,prometheus,otel,nats,cli -- \
	  sh -c 'ruff check . && ruff format --check . && mypy'

site:  ## build the documentation, strictly, into .site/html
	@$(ENVIRONMENT) site --extras docs -- \
	  sh -c 'python tools/site.py .site/source && NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet'

man:  ## write the manual page of the command line anew
	@$(ENVIRONMENT) lint --extras lint,test,bench,openfeature,prometheus,otel,nats,cli -- \
	  sh -c 'python tools/manpage.py > .livepatch.1 && mv .livepatch.1 man/livepatch.1'

format:  ## let ruff mend and format what it can
	@$(ENVIRONMENT) lint --extras lint,test,bench,openfeature,prometheus,otel,nats,cli -- \
	  sh -c 'ruff check --fix . ; ruff format .'

bench:  ## measure what a patched call costs beside the alternatives, and draw it into .benchmarks
	@$(ENVIRONMENT) bench --extras bench -- python benchmarks/run.py --plots .benchmarks

peers:  ## hold the same cases of live code to livepatch and to six other tools
	@$(ENVIRONMENT) peers --supports 3.12 3.13 --install jurigged==0.6.1 ddtrace==4.16.0 ipython==9.18.1 -- \
	  python benchmarks/peers.py --why

graphs:  ## measure the call graph beside PyCG and pyan
	@$(ENVIRONMENT) graphs --extras bench --install PyCG==0.0.8 pyan3==2.9.0 'setuptools<80' -- \
	  python benchmarks/run.py callgraph

cves:  ## patch published vulnerabilities of packages from the index, one process each, and take the patches back
	@$(ENVIRONMENT) cves --install pip -- python benchmarks/cves/run.py

match:  ## compile every function of the standard library and of five packages by itself, and change 1,000 of them
	@$(ENVIRONMENT) match --install pip -- python benchmarks/run_pre.py

mutants:  ## change one thing at a time in the files that decide, and see whether a test notices
	@$(ENVIRONMENT) mutants --supports 3.12 3.13 --extras test --install mutmut==3.8.1 -- python tools/mutants.py

clean:  ## remove what the other targets made
	rm -rf .venvs .reports .site mutants .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
