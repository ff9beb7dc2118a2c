"""How fast are DICOM pixels decoded? One file a transfer syntax, from the file to an array, against those a user has.

    OMP_NUM_THREADS=1 python benchmarks/speed_decode.py [--rounds 9] [--only "JPEG"] [--decoders]

Ours is `medssl.data.readers.dicom.read`, what the product calls: values in real units in the smallest type that holds
them, with geometry. The others stop at stored values: pydicom's `dcmread` and `pixel_array` with each plug-in that is
installed, GDCM through its Python classes and through SimpleITK. A multi-frame object is read frame by frame by us, as
the product does, and at once by the others. Plug-ins, none of which medssl needs:

    pip install "medssl[bench]" pylibjpeg-libjpeg      # the last is GPL-3

With `--decoders` headers are parsed beforehand on both sides: our `stored` (which still reads the frame's bytes from
the file) against pydicom's decoders on a data set in memory. Values are compared before anything is timed.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from decode_files import Case, cases, write
from pydicom import Dataset, dcmread
from pydicom.pixels import get_decoder, pixel_array
from racing import race, ratio, show_machine

from medssl.data.readers import dicom
from medssl.data.readers.parts import dicom_pixels
from medssl.data.readers.parts.dicom_source import open_source
from medssl.data.readers.parts.dicom_stored import stored

_OURS = "imagecodecs"
_LEAST_MS = 30.0
Read = Callable[[], object]


def main(rounds: int, only: str, frames: int, *, decoders: bool) -> None:
    """Time every case whose name holds `only`, and print a line each."""
    show_machine("pydicom", "imagecodecs", "simpleitk")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases(frames):
            if only.lower() in case.name.lower():
                _race(write(case, Path(folder)), case, rounds, decoders=decoders)


def _race(path: Path, case: Case, rounds: int, *, decoders: bool) -> None:
    if decoders:
        source = open_source(path)
        ours: Read = lambda: [stored(source, frame) for frame in range(case.frames)]  # noqa: E731
        rivals = _plugins(path, case, dcmread(path))
    else:
        ours, rivals = _ours(path, case), {**_plugins(path, case), **_gdcm(path, case)}
    rivals = {name: read for name, read in rivals.items() if _agrees(name, read, ours, case, decoders=decoders)}
    repeats = max(1, round(_LEAST_MS / _milliseconds(ours)))  # an archive has many files: code is warm
    seconds = race({name: partial(_again, read, repeats) for name, read in {"medssl": ours, **rivals}.items()}, rounds)
    kinds = {"plug-ins": [n for n in rivals if "GDCM" not in n], "GDCM": [n for n in rivals if "GDCM" in n]}
    said = [f"{case.name:44} {1000 * statistics.median(seconds['medssl']) / repeats:8.2f} ms"]
    for kind, names in kinds.items():
        if not names:
            said.append(f"{kind}: none reads it")
            continue
        best = min(names, key=lambda name: statistics.median(seconds[name]))
        said.append(f"{kind}: {best} {ratio(seconds[best], seconds['medssl'])}")
    print(" | ".join(said), flush=True)


def _again(read: Read, repeats: int) -> None:
    for _ in range(repeats):
        read()


def _milliseconds(read: Read) -> float:
    start = time.process_time()
    read()
    return 1000 * (time.process_time() - start)


def _ours(path: Path, case: Case) -> Read:
    def read() -> list[np.ndarray]:
        dicom_pixels.forget()  # what was kept of the file
        return [dicom.read(path, frame).array for frame in (range(case.frames) if case.frames > 1 else [None])]

    return read


def _plugins(path: Path, case: Case, dataset: Dataset | None = None) -> dict[str, Read]:
    decoder = get_decoder(case.syntax)
    names = [name for name in decoder.available_plugins if name != _OURS] if decoder.is_encapsulated else [""]

    def read(name: str) -> np.ndarray:
        if dataset is not None:
            return decoder.as_array(dataset, decoding_plugin=name)[0]
        return _channels_first(pixel_array(dcmread(path), decoding_plugin=name), case)

    return {f"pydicom {name}".strip(): partial(read, name) for name in names}


def _channels_first(array: np.ndarray, case: Case) -> np.ndarray:
    """Return the order of axes that a network takes, contiguous; what every contestant has to give."""
    return np.ascontiguousarray(np.moveaxis(array, -1, -3)) if case.colour else array


def _gdcm(path: Path, case: Case) -> dict[str, Read]:
    def through_simpleitk() -> np.ndarray:
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        kept[:] = [image]  # the view does not own its pixels
        return _channels_first(sitk.GetArrayViewFromImage(image), case)

    kept: list[object] = []
    found: dict[str, Read] = {"GDCM in SimpleITK": through_simpleitk}
    try:
        import gdcm
    except ImportError:
        return found

    def alone() -> np.ndarray:
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        if not reader.Read():
            raise ValueError("GDCM does not read it")
        values = np.frombuffer(reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape"), np.uint8)
        return _channels_first(values.reshape(-1, 512, 512, 3) if case.colour else values, case)

    gdcm.Trace.ErrorOff()
    gdcm.Trace.WarningOff()
    return {**found, "GDCM in Python": alone}


def _agrees(name: str, read: Read, ours: Read, case: Case, *, decoders: bool) -> bool:
    """Return whether a contestant reads the file; say it where its values differ from ours."""
    try:
        theirs = np.asarray(read())
    except Exception as error:  # a decoder that refuses
        print(f"  {name} does not read {case.name}: {str(error).splitlines()[0][:90]}")
        return False
    if name == "GDCM in Python":
        return True  # bytes without a type
    mine = np.asarray(ours()).squeeze()
    theirs = theirs.squeeze().astype(float) + (case.intercept if "pydicom" in name and not decoders else 0)
    most = float(np.abs(mine - theirs).max()) if mine.shape == theirs.shape else np.inf
    if most:
        print(f"  {name} differs from ours by up to {most:g} in {case.name}")
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--decoders", action="store_true")
    chosen = parser.parse_args()
    main(chosen.rounds, chosen.only, chosen.frames, decoders=chosen.decoders)
