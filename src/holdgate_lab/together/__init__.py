"""Fleets that agree over one log, on the virtual clock: real circuits and members, a log with every fault, and what must hold."""
