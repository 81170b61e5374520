"""Data that a patch changes: migrations, what is saved before them, and the record that outlives the process."""
