"""A settings file: `holdgate.load("holdgate.toml")`."""

from holdgate.config.changes import Changes
from holdgate.config.reading import Effective
from holdgate.config.settings import Settings, load
from holdgate.config.watching import Watch

__all__ = ["Changes", "Effective", "Settings", "Watch", "load"]
