"""`holdgate config`: checks, shows and compares settings files."""
