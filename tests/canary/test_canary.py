"""No identifier leaves the archive: canaries in every place of a file, and every byte that medssl writes searched."""

import json
import os
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from tests.canary.planting import Planter, archive, e11_tags
from tests.canary.searching import files_below, found, hashed, layers
from tests.canary.several import MARK

_ROOT = Path(__file__).parents[2]
_TINY = {
    "data.image_size": 16, "vit.width": 32, "vit.depth": 1, "vit.heads": 2, "vit.patch_size": 4,
    "mae.decoder_width": 32, "mae.decoder_depth": 1, "mae.decoder_heads": 2, "train.batch_size": 4, "train.epochs": 1,
    "train.workers": 0, "train.device": "cpu",
}  # fmt: skip


pytestmark = pytest.mark.timeout(900)


class Site(NamedTuple):
    """A place with an archive, and what was written and said there."""

    folder: Path
    places: dict[str, str]
    said: dict[str, bytes]

    def medssl(self, commands: dict[str, list[object]]) -> None:
        """Run commands with every log and warning shown, and keep what they say; those named `fail` must."""
        told = json.dumps([[name, [str(word) for word in words]] for name, words in commands.items()])
        home = {"XDG_DATA_HOME": str(self.folder / "home"), "MEDSSL_CACHE_DIR": str(self.folder / "cache")}
        environment = os.environ | home | {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
        run = [sys.executable, "-W", "always", str(Path(__file__).with_name("several.py"))]
        done = subprocess.run(run, cwd=self.folder / "out", env=environment, input=told.encode(), capture_output=True)
        for stream in (done.stdout, done.stderr):
            for part in stream.split(f"\n{MARK}".encode())[1:]:
                name, _, text = part.partition(b"\n")
                self.said[name.decode()] = self.said.get(name.decode(), b"") + text
        codes = re.findall(f"{MARK}exit (\\d+)".encode(), done.stdout)
        wanted = [b"65" if name.startswith("fail") else b"0" for name in commands]
        wrong = [name for name, code, right in zip(commands, codes, wanted, strict=False) if code != right]
        assert codes == wanted, (wrong, done.stderr.decode(errors="replace")[-3000:])

    def leaks(self, data: bytes, *, paths: bool, dates: bool = False) -> dict[str, str]:
        """Return {canary: its place} of what must not stand in these bytes.

        Args:
            data: What was written.
            paths: Names of files and folders may stand there, and the user's own columns.
            dates: The day of the study may stand there.
        """
        hits = found(data)
        if paths:
            hits = {hit for hit in hits if not hit.upper().startswith(("ZQPATHXX", "ZQUSERXX"))}
        if dates:
            studies = {key for key, place in self.places.items() if place.endswith("(0008,0020)")}
            hits -= {f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in studies}
        return {hit: self.places.get(hit, self.places.get(hit.replace("-", ""), "in another form")) for hit in hits}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Run the whole path once: scan in several ways, look, pretrain, sweep, report, fail."""
    folder, planter = tmp_path_factory.mktemp("hospital"), Planter()
    (folder / "archive").mkdir()
    (folder / "out").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = archive(folder / "archive", planter)
    site = Site(folder, planter.places, {})
    archived = folder / "archive"
    dicom = next(path for path in files_below(archived / "plain"))
    sets = [word for name, value in _TINY.items() for word in ("--set", f"{name}={value}")]
    pretrain = ["pretrain", "--modality", "cxr", "--method", "mae", "--backbone", "vit_nano", "--preset", "none", *sets]
    (folder / "key").write_text("a key of this test, for splits follow it\n")  # a random one may part no class
    (folder / "key").chmod(0o600)
    sweep = ["sweep", "--arms", "run", "--data", "keyed.parquet", "--label", "disease", "--fractions", 50, 100]
    chosen = [word for word in sets if word != "--set" and not word.startswith("train.batch_size")]
    ablate = ["ablate", "mask", "--modality", "cxr", "--backbone", "vit_nano", "--data", "keyed.parquet"]
    ablate += ["--label", "disease", "--values", "mae.mask_ratio=0.5", "--set", *chosen]
    commands = {
        "scan": ["scan", archived, "--labels", labels, "--key", folder / "key", "-o", "keyed.parquet"],
        "scan-csv": ["scan", archived, "--labels", labels, "-o", "once.csv", "--shift-dates"],
        "scan-slices": ["scan", archived, "--burned-in", "keep", "--slices", "-o", "slices.parquet"],
        "inspect": ["inspect", "keyed.parquet", "-o", "sheet.png"],
        "inspect-file": ["inspect", dicom, "-o", "file.png"],
        "pretrain": [*pretrain, "--data", "keyed.parquet", "--label", "disease", "-o", "run"],
        "pretrain-folder": [*pretrain, "--data", archived / "plain", "--set", "data.holdout=0", "-o", "run2"],
        "embed": ["embed", "run", "keyed.parquet", "-o", "features.parquet", "--map", "--label", "disease"],
        "attend": ["attend", "run", "keyed.parquet", "-o", "attended"],
        "attend-file": ["attend", "run", archived / "plain", "-o", "attended-folder", "--most", 2],
        "ablate": [*ablate, "--set", "train.batch_size=8", "-o", "ablation"],
        "sweep": [*sweep, "--draws", 1, "-o", "sweep"],
        "report": ["report", "sweep", "--anew"],
        "fail-join": ["scan", "keyed.parquet", "--labels", labels, "-o", "no.parquet"],
    }
    for name in ("cut.dcm", "a.png", "a.npy", "line.mha", "a.nrrd", "a.tif", "a.nii", "syntax.dcm"):
        commands[f"fail-{name}"] = ["inspect", archived / "damaged" / name, "-o", "no.png"]
    site.medssl(commands)
    return site


def test_canaries_are_planted_in_every_element_and_many_kinds_of_place(site):
    assert len(e11_tags()) == 617
    kinds = {re.sub(r"\d+", "#", place) for place in site.places.values() if "(" not in place}
    assert len(kinds) >= 60, sorted(kinds)
    whole = b"".join(path.read_bytes() for path in files_below(site.folder / "archive"))
    some = list(site.places)[::40]  # all take long, and each is looked for in the whole archive
    assert sum(canary.encode() in whole for canary in some) > 0.6 * len(some)


def test_the_search_finds_what_it_looks_for(site):
    for path in files_below(site.folder / "archive"):
        if path.suffix == ".dcm" and path.stat().st_size > 20_000:
            assert len(found(path.read_bytes())) > 500
            break


def test_nothing_written_or_said_holds_a_canary(site):
    leaks = defaultdict(dict)
    for path in files_below(site.folder / "out") + files_below(site.folder / "cache"):
        name = path.relative_to(site.folder).as_posix()
        plain = path.name.removeprefix(".").removesuffix(".files")  # the record of a scan holds what its manifest holds
        manifest = plain in ("keyed.parquet", "once.csv", "slices.parquet", "manifest.parquet")
        hits = site.leaks(path.read_bytes(), paths=manifest, dates=manifest and plain.endswith(".parquet"))
        if plain == "once.csv":  # its dates are shifted: they may be anybody's, but not those of their row
            shifted = set(pd.read_csv(path.with_name(plain))["study_date"].dropna())
            hits = {hit: place for hit, place in hits.items() if hit not in shifted}
        leaks[name] = hits | dict.fromkeys(found(name.encode()), "its name")
    for name, data in site.said.items():
        leaks[f"said by {name}"] = site.leaks(data, paths=name.startswith("fail"))
    assert not {name: dict(list(hits.items())[:5]) for name, hits in leaks.items() if hits}


def test_shifted_dates_are_other_dates_and_keep_the_days_between(site):
    shifted = pd.read_csv(site.folder / "out" / "once.csv", dtype=str).set_index("path")["study_date"]
    real = pd.read_parquet(site.folder / "out" / "keyed.parquet").set_index("path")["study_date"]
    both = pd.DataFrame({"shifted": shifted, "real": real}).dropna()
    days = (pd.to_datetime(both["real"]) - pd.to_datetime(both["shifted"])).dt.days
    assert len(both) > 20
    assert days.between(1, 365).all()


def test_paths_stand_only_in_the_columns_for_them(site):
    table = pd.read_parquet(site.folder / "out" / "keyed.parquet")
    holding = {name for name in table.columns if table[name].astype(str).str.contains("ZQPATHXX").any()}
    assert holding <= {"path", "planes", "reason"}
    assert {name for name in table.columns if table[name].astype(str).str.contains("ZQUSERXX").any()} == {"note"}


def test_no_hash_without_the_key_stands_anywhere(site):
    table = pd.read_parquet(site.folder / "out" / "keyed.parquet")
    tried = hashed([*site.places, *table["path"], *(Path(path).name for path in table["path"])])
    for path in files_below(site.folder / "out") + files_below(site.folder / "cache"):
        for layer in layers(path.read_bytes()):
            for match in re.finditer(rb"[0-9a-f]{16,}", layer):
                assert match[0][:16].decode() not in tried, (path, match[0])


def test_what_should_be_read_was_read(site):
    table = pd.read_parquet(site.folder / "out" / "keyed.parquet")
    usable = table[table["status"] == "ok"]
    assert {"dicom", "raster", "nifti", "itk", "numpy_array", "heidelberg_vol"} == set(usable["format"])
    assert usable["disease"].value_counts().to_dict() == {"yes": 24, "no": 24}
    assert usable.loc[usable["disease"].notna(), "patient_id"].nunique() == 12
    assert (usable["slices"] == 3).any()
    assert set(table.loc[table["burned_in"].isin(["yes", "screen"]), "status"]) == {"skipped"}
    assert table["id_key"].nunique() == 1
