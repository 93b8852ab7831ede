"""What people who run workers see: metrics, spans and the fields of log records. The exporters are modules of their own, with an extra."""
