"""Formats that are known by sight and not read yet, so that a skipped file says what it is."""

_UNREADABLE = {
    b"ObjectType": "a MetaIO file that is no image, or whose header is damaged",
    b"NRRD": "an NRRD of an unknown version, or its header is damaged",
    b"\x89HDF": "HDF5 is not supported: convert it to NIfTI",
}
_ENDINGS = {
    ".img": "a raw .img has no header: it is read as the pair of a NIfTI header, or as a Zeiss cube with its own name "
    "and size",
    ".e2e": "named .e2e, but its content is not that of a Heidelberg file: export it as DICOM or PNG",
    ".fda": "named .fda, but its content is not that of a Topcon file: export it as DICOM or PNG",
    ".fds": "named .fds, but its content is not that of a Topcon file: export it as DICOM or PNG",
}
_IMAGE_ENDINGS = (".dcm", ".dicom", ".nii", ".nii.gz", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_TABLE_ENDINGS = (".csv", ".tsv", ".parquet")
_LEFTOVERS = {".ds_store", "thumbs.db", "desktop.ini"}


def judge(name: str, head: bytes) -> tuple[str, str]:
    """Return (status, reason) of a file that no reader knows.

    Args:
        name: The file's name.
        head: Its first bytes.
    """
    lower = name.lower()
    if lower.startswith("._") or lower in _LEFTOVERS:
        return "skipped", "left by an operating system, not an image"
    if not head:
        return "unreadable" if lower.endswith(_IMAGE_ENDINGS) else "skipped", "the file is empty"
    for magic, reason in _UNREADABLE.items():
        if head.startswith(magic):
            return "unreadable", reason
    for ending, reason in _ENDINGS.items():
        if lower.endswith(ending):
            return "unreadable", reason
    if lower.endswith(_TABLE_ENDINGS):
        return "skipped", "a table, not an image: --labels joins it"
    if lower.endswith(_IMAGE_ENDINGS):
        ending = "." + lower.rsplit(".", 1)[-1]
        return "unreadable", f"named {ending}, but its content is no image format known here"
    return "skipped", "not an image format known here"
