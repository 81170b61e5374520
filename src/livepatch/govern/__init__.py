"""Who may do what in this process, by which rules, and the record of what was done.

Rules are found here, and asked before anything changes; what is about to be done is on the disk before it is.
"""
