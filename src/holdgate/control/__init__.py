"""The control plane: what a worker says of itself over HTTP, and the commands that it takes there. `Guard(control=Control(port=9099))`."""

from __future__ import annotations

from holdgate.errors import MissingExtra

try:
    import starlette as _starlette
    import uvicorn as _uvicorn
except ImportError as error:
    raise MissingExtra("starlette and uvicorn are not installed: pip install 'holdgate[web]'") from error

from holdgate.control.control import Control

del _starlette, _uvicorn

__all__ = ["Control"]
