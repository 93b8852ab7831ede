"""Guards inside of other frameworks: each has a module of its own, and needs that framework to be installed."""
