"""Broker adapters: one package per broker, each an `Intake` around that broker's asyncio client."""
