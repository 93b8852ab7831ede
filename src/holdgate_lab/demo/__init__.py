"""`holdgate demo`: one outage, lived through twice side by side, with the guard and without it."""
