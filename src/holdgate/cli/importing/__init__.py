"""`holdgate import`: makes a settings file of what another library was configured by."""
