"""The command line, and what its commands end with. `holdgate.__main__` begins it.

Importing this imports neither click nor rich: they come with an extra.
"""

# What a shell expects: 0 it worked, 1 it could not go on, 2 it could not begin, 130 ended by Ctrl-C.
FAILED = 1
REFUSED = 2
INTERRUPTED = 130
