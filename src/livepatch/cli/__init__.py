"""The command line: one file a command, with the words of the API."""
