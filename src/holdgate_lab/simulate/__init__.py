"""`holdgate simulate`: what settings would have done in an outage, told by a simulated fleet."""
