"""What a file says about the picture in it: EXIF, IPTC, XMP, makers' notes."""
