"""What systemd is given: the units, and the drop-in that tells it of the configured folders.

The files beside this module are the templates: `damd.units.service` fits them to an installation, `damd.units.dropin`
writes what only a configuration knows, and `damd.units.writing` writes paths so that systemd reads the same ones.
"""
