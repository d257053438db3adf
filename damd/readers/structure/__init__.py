"""The structure of files, read without decoding anything: directories, boxes, compressed streams."""
