"""The database, and the only place that knows which one it is."""
