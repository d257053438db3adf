"""`damd doctor`: what works here and what does not, each with what to do about it.

Nothing is changed, but that a catalogue of an older damd is brought up to date, as by every command. Where there is
no catalogue, or none that opens, everything else is looked at in a scratch folder. A further check is a file beside
this, or among `damd.checks` where ``damd config check`` should tell it too, and a line in `damd.doctor.examination`.
"""

from damd.checks.findings import Finding
from damd.doctor.examination import examine

__all__ = ["Finding", "examine"]
