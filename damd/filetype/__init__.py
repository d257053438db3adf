"""What a file is, by its bytes: `get_mime_type` and the guide's `get_file_type`.

The name never counts. Three judges are asked in turn: the tables of `damd.filetype.signatures`, which
hold what damd reads or is likely to meet and what the library gets wrong; a look for plain text; and the
library `puremagic`, whose guess at a type that the tables know is not believed, since the tables did not agree.

A format that proves itself is one line in those tables; one that does not, or that is several types in one
coat, has a function beside them that looks closer. What they may look at is a `damd.filetype.peek.Peek`.
"""

from damd.filetype.detect import get_file_type as get_file_type
from damd.filetype.detect import get_mime_type as get_mime_type
from damd.filetype.peek import HEAD_BYTES as HEAD_BYTES

READER = "filetype"
"""In the place of a reader's name, where no reader was asked: the file's type alone decided that it is not read."""

VERSION = 1
"""A number that grows whenever more types are told, or otherwise than before: what nobody read is looked at anew."""
