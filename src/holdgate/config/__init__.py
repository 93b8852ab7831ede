"""A settings file: `holdgate.load("holdgate.toml")`."""

from holdgate.config.changes import Changes
from holdgate.config.reading import Effective
from holdgate.config.settings import Settings, load
from holdgate.config.watching import SettingsWatch

__all__ = ["Changes", "Effective", "Settings", "SettingsWatch", "load"]
