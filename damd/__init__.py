"""damd watches folders and turns what lands in them into a catalogue."""

__version__ = "0.1.0"
