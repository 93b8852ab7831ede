"""`holdgate letters`: lists dead letters and what is known of each, without moving any."""
