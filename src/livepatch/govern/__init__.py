"""Who may do what in this process, by which rules: rules are found here, and asked before anything changes."""
