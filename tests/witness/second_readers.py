"""Run by an interpreter of its own (`make test-witness`): frames as other readers see them, one child a reader.

python second_readers.py JOBS.json OUT    JOBS is [[number, path, frames], ...]

Writes OUT/NUMBER.WITNESS.npy, (frames, rows, columns[, C]): `sitk` (GDCM within SimpleITK) applies the modality
rescale and inverts MONOCHROME1; `gdcm`, `pylibjpeg` and `pyjpegls` are those plug-ins of pydicom on compressed files
and give stored values, colours as RGB. What a reader refuses has no file. A reader that dies takes nobody along.
"""

import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.pixels import pixel_array


def by_sitk(path, frames):
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(path)
    image = reader.Execute()
    values = sitk.GetArrayFromImage(image)
    return values[frames] if image.GetDimension() == 3 else values[None]


def by_plugin(name):
    def read(path, frames):
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            raise ValueError("not compressed: pydicom itself would read it")
        many = int(dataset.get("NumberOfFrames") or 1) > 1
        return np.stack([pixel_array(path, index=f if many else None, decoding_plugin=name) for f in frames])

    return read


WITNESSES = {"sitk": by_sitk, **{name: by_plugin(name) for name in ("gdcm", "pylibjpeg", "pyjpegls")}}


def main():
    out = Path(sys.argv[2])
    for number, path, frames in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        for name, read in WITNESSES.items():
            child = os.fork()
            if child:
                os.waitpid(child, 0)
                continue
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            warnings.simplefilter("ignore")
            try:
                np.save(out / f"{number}.{name}.npy", read(path, frames))
            finally:
                os._exit(0)


if __name__ == "__main__":
    main()
