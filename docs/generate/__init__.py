"""Fills in the parts of the Markdown that are made from code: `python -m docs.generate`."""
