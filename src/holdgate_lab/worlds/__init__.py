"""Worlds with a limit: one service that lets so much through, and workers with a backlog in front of it."""
