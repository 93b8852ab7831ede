"""Fault runs with several worker processes: what happened is written down, and checked against the invariants afterwards."""
