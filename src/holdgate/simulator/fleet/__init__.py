"""A fleet of workers in front of model brokers and dependencies, on a virtual clock: deterministic, and checked at every step."""
