"""`holdgate fleet`: makes the log of a fleet, and shows what is in it."""
