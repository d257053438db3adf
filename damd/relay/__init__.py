"""From committed events to those who asked."""
