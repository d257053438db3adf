"""Formats of images: which one a file has, and how those are opened that Pillow alone does not open well."""
