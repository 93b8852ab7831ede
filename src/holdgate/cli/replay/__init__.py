"""`holdgate replay`: dead letters back to where they can be processed, one at a time, each confirmed before it counts as moved."""
