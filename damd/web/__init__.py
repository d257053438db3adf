"""The daemon over HTTP, on loopback, where the configuration asks for it: metrics, health, status."""
