"""Real servers for the tests: found, or started by ourselves. `python -m tests.servers up kafka` starts one by hand."""
