"""What a delivered file really is when it is no CSV file, so that its refusal says what to do. Quotes nothing of it."""

from __future__ import annotations

import re

_EXPORT = "save it as CSV UTF-8 in the program that it comes from"
_UNPACK = "unpack it and deliver the CSV files in it"
# How files begin that are no text. What is ASCII alone could begin a header, where no other byte follows.
_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an old Excel workbook (xls), or one with a password: {_EXPORT}"),
    (b"\x1f\x8b", "gzip: give it a name that ends in .csv.gz"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"BZh", f"bzip2: {_UNPACK}"),
    (b"\xfd7zXZ\x00", f"xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"zstd: {_UNPACK}"),
    (b"\x1f\x9d", f"compress: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a rar archive: {_UNPACK}"),
    (b"%PDF-", "a PDF document: ask for the data that it was made from, as CSV"),
    (b"PAR1", "a parquet file: write it as CSV UTF-8"),
    (b"ARROW1", "an Arrow file: write it as CSV UTF-8"),
    (b"\xff\xff\xff\xff", "an Arrow stream: write it as CSV UTF-8"),
    (b"ORC", "an ORC file: write it as CSV UTF-8"),
    (b"Obj\x01", "an Avro file: write it as CSV UTF-8"),
    (b"SQLite format 3\x00", "an SQLite database: write its table as CSV UTF-8"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"\x80\x04\x95", "a Python pickle: write it as CSV UTF-8"),
    (b"\x80\x05\x95", "a Python pickle: write it as CSV UTF-8"),
)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f\x80-\xff]")
_HEAD = 256  # bytes
# Of zip archives, by the names of what is in them. Other archives are told as such.
_ZIPPED: tuple[tuple[bytes, str], ...] = (
    (b"application/vnd.oasis.opendocument.spreadsheet", f"an OpenDocument sheet (ods): {_EXPORT}"),
    (b"application/vnd.oasis.opendocument", f"an OpenDocument file: {_EXPORT}"),
    (b"xl/", f"an Excel workbook (xlsx): {_EXPORT}"),
    (b"word/", f"a Word document (docx): {_EXPORT}"),
    (b"ppt/", f"a PowerPoint document (pptx): {_EXPORT}"),
    (b"Index/", f"a Numbers document: {_EXPORT}"),
)
_TEXTS: tuple[tuple[str, str], ...] = (
    (r"%pdf-", "a PDF document: ask for the data that it was made from, as CSV"),
    (r"\$fl[23]@", f"an SPSS file: {_EXPORT}"),
    (r"<stata_dta>", f"a Stata file: {_EXPORT}"),
    (r"\{\\rtf", f"an RTF document: {_EXPORT}"),
    (r"(?s)<\?xml.*urn:schemas-microsoft-com:office:spreadsheet", f"an Excel sheet as XML: {_EXPORT}"),
    (
        r"<!doctype html|<html|<head|<body|<table|<meta|<script",
        "an HTML page: an error page or a login instead of data?",
    ),
    (r"<\?xml|<[a-z][\w:.-]*[\s>]", f"XML: {_EXPORT}"),
    (r"\{\s*[\"}]|\[\s*[\[{\"\d\]]", f"JSON: {_EXPORT}"),
    (r"(?:create|insert\s+into|select|begin|set)\s[^,;\t]*[(;]", f"SQL: {_EXPORT}"),
    (r"version https://git-lfs", "a pointer of Git LFS and not the file: fetch it with git lfs pull"),
    (r"-----begin |age-encryption\.org", "an encrypted or signed file: deliver what is in it"),
    (r"(?:from|received|return-path|mime-version): ", "an e-mail: deliver the file that is attached to it"),
)


def binary_kind(content: bytes) -> str:
    """Say what a file is that is no text at all, and what to do about it; empty when it may be a text."""
    if content[8:12] == b"DUCK":
        return "a DuckDB database: write its table as CSV UTF-8"
    if content.startswith(b"PK\x03\x04"):
        # The names of what is in an archive stand at its end too, where those of the first parts may not come first.
        ends = content[:65536] + content[-65536:]
        return next((said for part, said in _ZIPPED if part in ends), f"a zip archive: {_UNPACK}")
    kind = next((said for start, said in _BINARY if content.startswith(start)), "")
    return kind if _NO_TEXT.search(content[:_HEAD]) else ""


def text_kind(text: str) -> str:
    """Say what a text is whose header has no known name, by how it begins; empty when it may be a CSV file."""
    begin = text.lstrip("\ufeff \t\r\n").lower()
    kind = next((said for pattern, said in _TEXTS if re.match(pattern, begin)), "")
    first_line = re.match(r"[^\r\n]*", text)
    if not kind and first_line and re.search("[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd]", first_line.group()):
        return "no text: it has bytes in its first line that no header has"
    return kind
