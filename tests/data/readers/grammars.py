"""Files made by the rules of a format, with every field drawn at random, often from the edges of its type.

Mutations of sound files (`test_fuzz.damaged`) seldom get past the first check; these are sound in form and absurd in
content, so that they reach what lies behind it.
"""

from collections.abc import Callable

from tests.data.readers.drawing import Random
from tests.data.readers.grammar_dicom import dicom
from tests.data.readers.grammar_oct import heidelberg, topcon
from tests.data.readers.grammar_pictures import png, tiff
from tests.data.readers.grammar_volumes import array, meta_image, nifti, nrrd

GRAMMARS: dict[str, Callable[[Random], tuple[str, bytes]]] = {
    "dicom": dicom, "nifti": nifti, "nrrd": nrrd, "meta_image": meta_image, "array": array, "tiff": tiff, "png": png,
    "topcon": topcon, "heidelberg": heidelberg,
}  # fmt: skip
"""By name: from a generator of numbers to the ending and the bytes of a file."""
