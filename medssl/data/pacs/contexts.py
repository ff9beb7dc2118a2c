"""What DIMSE peers agree on: the kinds of objects, and the transfer syntaxes that medssl reads.

Compressed images are asked for as they are stored. A peer picks one syntax of a presentation context, so an
association offers a context for every syntax where there is room: 128 contexts are the limit of the protocol.
"""

from collections.abc import Iterable
from typing import Any

from pydicom import uid

from medssl.data.pacs.extra import pynetdicom

SYNTAXES = (
    uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.JPEGLosslessSV1, uid.JPEGLossless,
    uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL, uid.HTJ2K, uid.RLELossless, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit,
    uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian,
)  # fmt: skip
_PLAIN = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]
_ROOM = 126  # two are left for the query itself
_USUAL = (
    "CTImageStorage", "EnhancedCTImageStorage", "MRImageStorage", "EnhancedMRImageStorage",
    "ComputedRadiographyImageStorage", "DigitalXRayImageStorageForPresentation",
    "DigitalXRayImageStorageForProcessing", "DigitalMammographyXRayImageStorageForPresentation",
    "DigitalMammographyXRayImageStorageForProcessing", "BreastTomosynthesisImageStorage",
    "UltrasoundImageStorage", "UltrasoundMultiFrameImageStorage", "SecondaryCaptureImageStorage",
    "MultiFrameGrayscaleByteSecondaryCaptureImageStorage", "MultiFrameGrayscaleWordSecondaryCaptureImageStorage",
    "MultiFrameTrueColorSecondaryCaptureImageStorage", "OphthalmicPhotography8BitImageStorage",
    "OphthalmicPhotography16BitImageStorage", "OphthalmicTomographyImageStorage",
    "PositronEmissionTomographyImageStorage", "EnhancedPETImageStorage", "NuclearMedicineImageStorage",
    "XRayAngiographicImageStorage", "XRayRadiofluoroscopicImageStorage", "VLPhotographicImageStorage",
    "VLWholeSlideMicroscopyImageStorage", "SegmentationStorage",
)  # fmt: skip


def accepted(*, compressed_first: bool = False) -> list[Any]:
    """Return the contexts that a storage SCP of ours accepts: every standard kind of object, every syntax we read.

    Args:
        compressed_first: Where a sender offers both in one context, take the compressed one.
    """
    net = pynetdicom()
    kinds = [context.abstract_syntax for context in net.AllStoragePresentationContexts]
    compressed = [syntax for syntax in SYNTAXES if syntax not in _PLAIN]
    order = [*compressed, *_PLAIN] if compressed_first else list(SYNTAXES)
    return [net.build_context(kind, order) for kind in kinds]


def offered(kinds: Iterable[str], only: str | None = None) -> list[Any]:
    """Return the contexts to offer for a C-GET of objects of some kinds; of the usual ones where none is known.

    Args:
        kinds: SOP class UIDs.
        only: The one transfer syntax to offer; None for all, each in a context of its own as far as there is room.
    """
    net = pynetdicom()
    known = sorted({kind for kind in kinds if kind}) or _usual()
    if only is not None:
        return [net.build_context(kind, only) for kind in known[:_ROOM]]
    if len(known) * len(SYNTAXES) <= _ROOM:
        return [net.build_context(kind, syntax) for kind in known for syntax in SYNTAXES]
    compressed = [syntax for syntax in SYNTAXES if syntax not in _PLAIN]
    groups = [_PLAIN, compressed] if len(known) * 2 <= _ROOM else [list(SYNTAXES)]
    return [net.build_context(kind, group) for kind in known[:_ROOM] for group in groups]


def _usual() -> list[str]:
    from pynetdicom import sop_class

    return [str(getattr(sop_class, name)) for name in _USUAL]
