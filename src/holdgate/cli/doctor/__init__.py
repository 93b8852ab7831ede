"""`holdgate doctor`: looks at brokers before an outage does."""
