"""`holdgate replay`: moves dead letters back to where they can be processed, each confirmed before it counts as moved."""
