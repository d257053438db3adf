"""Plain text, and the kinds of it that damd cares for: SVG, XMP and JSON."""

from __future__ import annotations

import codecs
import json
import re

from damd.filetype.peek import HEAD_BYTES

_NOT_TEXT = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
# Atomic and possessive, here and below: they never go back, so no text can make them slow.
_PROLOG = r"(?>\s|<\?[^>]*>|<!DOCTYPE[^>]*>|<!--.*?-->)*+"
_SVG = re.compile(_PROLOG + r"<svg[\s>]", re.DOTALL)
_XMP = re.compile(_PROLOG + r"<(?:[\w.-]+:)?(?:xmpmeta|xapmeta|RDF)[\s>/]", re.DOTALL)
_PACKET = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<\?xpacket\s")
_OBJECT = re.compile(r'\s*(?:\[\s*)*+\{\s*"(?>[^"\\\x00-\x1f]|\\.)*+"\s*:')
_LONGEST_WORD = 32
"""Characters by which the cut through a list may spoil its last number or word."""


def decode_text(head: bytes) -> str | None:
    """The head as text, or None when it is not: text has no control characters but white space."""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        # Not final: the head may end within a character.
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return None
    return None if _NOT_TEXT.search(text) else text


def judge_text(text: str, *, cut: bool) -> str | None:
    """The kind of text that it is; None when it is any other. ``cut`` says that the file goes on."""
    start = text.lstrip()[:1]
    if start == "<":
        if _SVG.match(text):
            return "image/svg+xml"
        if _XMP.match(text) or _PACKET.match(text):
            return "application/rdf+xml"
    if start in ("{", "[") and _is_json(text, cut=cut):
        return "application/json"
    return None


def _is_json(text: str, *, cut: bool) -> bool:
    """Whether it is JSON as far as it goes; an object's first key is proof enough, so that a broken one is told so."""
    if _OBJECT.match(text):
        return True
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return cut and (error.msg.startswith("Unterminated string") or error.pos >= len(text) - _LONGEST_WORD)
    except (RecursionError, ValueError):  # as deep, or as long a number, as only an attack is
        return False
    return True
