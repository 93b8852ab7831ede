"""Fleets that agree over one log, on the virtual clock: members with real circuits, a log with every fault, and what must hold in each run."""
