"""A million small DICOM instances scanned by the command line, interrupted once and gone on with: time and memory.

    python benchmarks/soak_scan.py [--series 1000] [--slices 1000] [--folder FOLDER]

Writes that many files of about 1.2 kB (4 kB each on most disks), scans them with `medssl scan`, sends the first run
Ctrl-C when a third is done, runs it again, runs `--update` on the unchanged folder, and removes everything. Memory is
the sum of the resident sets of the process and its children, looked at every quarter of a second: pages that they share
count several times.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

_MARKS = {"instance": b"1.2.826.0.1.7777777.8888888", "series": b"1.2.826.0.1.6666666", "z": b"5555.5", "n": b"4444"}


def main(series: int, slices: int, folder: Path | None) -> None:
    """Write, scan, interrupt, go on, update, and print."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        archive, output = Path(scratch) / "archive", Path(scratch) / "out" / "manifest.parquet"
        begun = time.monotonic()
        write(archive, series, slices)
        total = series * slices
        print(f"{total:,} files written in {time.monotonic() - begun:.0f} s", flush=True)
        command = [
            sys.executable,
            "-c",
            "from medssl.cli.main import main; main()",
            "scan",
            str(archive),
            "-o",
            str(output),
        ]
        watched("until Ctrl-C", command, total, stop_at=total // 3)
        watched("the rest", command, total)
        size = sum(path.stat().st_size for path in output.parent.iterdir())
        print(f"manifest and record: {size / 2**20:.0f} MiB")
        watched("update, nothing changed", [*command, "--update"], total)
        shutil.rmtree(archive)


def write(folder: Path, series: int, slices: int) -> None:
    """Write series of slices: one file, with other numbers of the same length in it."""
    folder.mkdir(parents=True)
    sample = folder / "sample"
    sample_slice().save_as(sample, enforce_file_format=True)
    data = sample.read_bytes()
    sample.unlink()
    for one in range(series):
        inside = folder / f"{one:04d}"
        inside.mkdir()
        own = data.replace(_MARKS["series"], b"1.2.826.0.1.1%06d" % one)
        for number in range(slices):
            made = own.replace(_MARKS["instance"], b"1.2.826.0.1.1%06d.1%06d" % (one, number))
            made = made.replace(_MARKS["z"], b"%06.1f" % number).replace(_MARKS["n"], b"%04d" % number)
            (inside / f"{number:04d}.dcm").write_bytes(made)


def sample_slice() -> Dataset:
    """Return a slice of 2 x 2 pixels."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, _MARKS["instance"].decode()
    ds.ImageType, ds.Modality, ds.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", "SYNTHETIC"
    ds.InstitutionName, ds.PatientID, ds.PatientName = "Nowhere", "P1", "None^None"
    ds.StudyInstanceUID = ds.SeriesInstanceUID = ds.FrameOfReferenceUID = _MARKS["series"].decode()
    ds.InstanceNumber, ds.ImagePositionPatient = _MARKS["n"].decode(), [0, 0, _MARKS["z"].decode()]
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
    ds.Rows = ds.Columns = 2
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.PixelData = 15, 0, bytes(8)
    ds["PixelData"].VR = "OW"
    return ds


def watched(title: str, command: list[str], total: int, stop_at: int | None = None) -> None:
    """Run a command, watch its memory, stop it where asked, and print."""
    begun, most, done = time.monotonic(), 0, 0
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in the background ignores Ctrl-C
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said, preexec_fn=heed) as run:
        process = psutil.Process(run.pid)
        while run.poll() is None:
            most = max(most, resident(process))
            said.seek(0)
            counts = re.findall(rb"(\d+)/%d" % total, said.read())
            done = int(counts[-1]) if counts else 0
            if stop_at is not None and done >= stop_at:
                run.send_signal(signal.SIGINT)
                stop_at = None
            time.sleep(0.25)
        said.seek(0)
        lines = said.read().decode().splitlines()
    took = time.monotonic() - begun
    memory = f"at most {most / 2**30:.2f} GiB resident"
    print(f"{title}: {took:.0f} s, exit code {run.returncode}, {memory}; last counted {done:,}", flush=True)
    print(
        "  " + next((line for line in lines if "files" in line and "scanning" not in line), lines[-1] if lines else "")
    )


def resident(process: psutil.Process) -> int:
    """Return the bytes of a process and its children."""
    try:
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    main(chosen.series, chosen.slices, chosen.folder)
