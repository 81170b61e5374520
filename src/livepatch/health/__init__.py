"""Whether the node is well: probes, rules, a judge, and a watchdog that takes a patch back."""
