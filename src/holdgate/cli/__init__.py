"""The command line, and the exit codes of its commands. `holdgate.__main__` starts it.

Importing this module imports neither click nor rich, which come with an extra.
"""

# What a shell expects: 0 for success, 1 for a command that could not go on, 2 for one that could not begin, 130 for Ctrl-C.
FAILED = 1
REFUSED = 2
INTERRUPTED = 130
