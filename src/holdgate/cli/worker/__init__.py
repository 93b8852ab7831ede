"""The commands that ask a running worker: over its port or its local socket."""
