"""The families of media; a further one is a file beside this and a line here."""

from damd.media import audio, document, image, sidecar, video
from damd.media.base import Family

FAMILIES: tuple[Family, ...] = (image.FAMILY, video.FAMILY, audio.FAMILY, document.FAMILY, sidecar.FAMILY)
