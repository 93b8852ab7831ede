"""The engine and both brokers without a real one: pure models on a clock that the caller moves."""
