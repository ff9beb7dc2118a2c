"""Whole pages: what they say, that they are closed, and what happens to damaged folders."""

import json
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

from medssl import files
from medssl.errors import DataError, StorageError
from medssl.report.build import report, run_report, sweep_report

HOSTILE = (
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "'><img src=x onerror=alert(1)>",
    "</style><script>alert(1)</script>",
    "</svg></text><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "url(https://example.org/x)",
    "--><!-- ]]> &lt;b&gt;",
    "$\\frac{\x07\u202e",
)


class Tags(HTMLParser):
    """Collect tags, attributes and text as a browser would."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, make_run):
    return make_run(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def sweep_folder(tmp_path_factory, make_sweep):
    return make_sweep(tmp_path_factory.mktemp("sweeps") / "first")


@pytest.fixture(scope="module")
def run_page(run_folder):
    return Tags(report(run_folder).read_text())


@pytest.fixture(scope="module")
def sweep_page(sweep_folder):
    return Tags(report(sweep_folder).read_text())


def _check_closed(html):
    """No script, no event, nothing loaded; links within figures only."""
    page = Tags(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form", "a", "foreignobject"} & set(page.tags)
    assert not [a for a in page.attributes if a[1].startswith("on")]
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value)
        assert "url(" not in value.replace("url(#", "") or name in ("alt", "aria-label"), (tag, name, value)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    policy = next(value for _, name, value in page.attributes if name == "content")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "url(" not in re.search("<style>(.*?)</style>", html, re.DOTALL)[1]


def test_a_run_page_is_closed(run_folder, run_page):
    _check_closed((run_folder / "report.html").read_text())


def test_a_sweep_page_is_closed(sweep_folder, sweep_page):
    _check_closed((sweep_folder / "report.html").read_text())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_on_a_run_page(tmp_path, make_run, text):
    folder = make_run(tmp_path / "run", text=text)
    html = report(folder).read_text()
    _check_closed(html)
    visible = text.split("\x07")[0].replace("\\", "")[:12]
    assert visible in Tags(html).text.replace("\\", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_on_a_sweep_page(tmp_path, make_sweep, text):
    folder = make_sweep(tmp_path / "sweep", fractions=(5.0, 100.0), text=text, dots=40)
    html = report(folder).read_text()
    _check_closed(html)
    assert text[:6] in Tags(html).text


def test_pages_are_rebuilt_byte_for_byte(tmp_path, run_folder, sweep_folder):
    for folder in (run_folder, sweep_folder):
        pages = [report(folder, tmp_path / f"{i}.html").read_bytes() for i in range(2)]
        assert pages[0] == pages[1]
        assert len(pages[0]) > 20_000


def test_a_run_page_says_what_was_trained_on_what(run_page):
    text = run_page.text
    for words in (
        "MAE on retinal OCT B-scans",
        "960 images of 1,400 in the manifest",
        "240 patients",
        "Over 30 epochs the loss fell from",
        "Nearest neighbours in the frozen features reach an AUROC of 0.827 at the end, on 640 labelled training images",
        "before training it was 0.512; the best was 0.827 in epoch 30.",
        "only its structure is predicted",
        "RETFound for OCT",
        "12 images have no pixel spacing",
        "Step 150: The loss has moved by less than 1 %",
        "medssl sweep --arms",
        "9f2c51d07a3be846",
    ):
        assert words in text
    assert "default of training" not in text
    assert run_page.tags.count("img") == 12  # original, masked and reconstructed of four samples


def test_patients_are_counted_never_named(run_folder, run_page):
    assert "patient-1" in pd.read_parquet(run_folder / "pretrained_on.parquet")["patient_key"].str.cat()
    assert "patient-1" not in (run_folder / "report.html").read_text()


def test_synthetic_data_are_announced_first_and_real_ones_are_not(tmp_path, make_run, make_sweep, run_page, sweep_page):
    for page in (run_page, sweep_page):
        assert [word for word in page.words if word.strip()][1] == "Synthetic data:"  # after the title only
    assert "Synthetic data:" not in Tags(report(make_run(tmp_path / "r", synthetic=False)).read_text()).text
    assert "Synthetic data:" not in Tags(report(make_sweep(tmp_path / "s", synthetic=False)).read_text()).text


def test_a_method_without_reconstructions_shows_views(tmp_path, make_run):
    page = Tags(report(make_run(tmp_path / "run", method="simclr", labels=False)).read_text())
    assert "SimCLR does not reconstruct images; two views" in page.text
    assert "view 1" in page.text
    assert "because no labels were given" in page.text
    assert "No labels were given, so it could not be computed." in page.text


def test_an_unfinished_run_is_marked_and_tells_how_to_go_on(tmp_path, make_run):
    folder = make_run(tmp_path / "run", finished=False)
    page = Tags(report(folder).read_text())
    assert "unfinished" in page.text
    assert "12 of 30 epochs" in page.text
    assert f"medssl pretrain --resume -o {tmp_path.name}/run" in page.text
    assert "They are written when the run ends." in page.text


def test_a_run_of_settings_alone_still_has_a_page(tmp_path, make_run):
    folder = make_run(tmp_path / "run", finished=False)
    for path in folder.iterdir():
        if path.name != "settings.yaml":
            path.unlink()
    page = Tags(run_report(folder).read_text())
    for words in ("No step has been logged yet.", "unknown images", "unknown patients", "No provenance was kept yet"):
        assert words in page.text


def test_a_sweep_page_answers_top_down(sweep_page):
    text = sweep_page.text
    places = [
        text.index(words)
        for words in (
            "How few labels are enough for drusen?",
            "AUROC is higher by 0.141",
            "The upper limit, 0.012",
            "about 23 of 240 patients",
            "Performance over labels",
            "average precision",
            "Paired differences",
            "Embedding map",
            "Site clinic-b has no laterality",
            "test: clinic-b",
        )
    ]
    assert places == sorted(places)


def test_shifts_are_shown_where_they_were_tested(tmp_path, make_sweep, sweep_page):
    assert "Under another acquisition" not in sweep_page.text
    folder = make_sweep(tmp_path / "s")
    results = files.read_json(folder / "results.json")
    span = {"value": 0.8, "low": 0.7, "high": 0.9}
    curves = [
        {"mode": "probe", "arm": arm, "fraction": 100.0, "shift": shift, "severity": severity, **span,
         "seen": (arm, shift) == ("simclr", "blur")}
        for arm in ("mae", "simclr") for shift in ("blur", "jpeg") for severity in range(4)
    ]  # fmt: skip
    head = {"mode": "probe", "fraction": 100.0, "unchanged": 0.85, "unseen": span, "drop": {**span, "value": -0.05}}
    headline = [
        {**head, "arm": "mae", "unseen_shifts": ["blur", "jpeg"], "against": None},
        {**head, "arm": "simclr", "unseen_shifts": [], "unseen": {**span, "value": None}, "against": {**span}},
    ]
    files.write_json(folder / "results.json", {**results, "shifts": {"curves": curves, "headline": headline}})
    text = Tags(report(folder).read_text()).text
    assert "Under another acquisition" in text
    assert "In the augmentations of simclr." in text
    assert "In no arm's augmentations." in text
    assert "0.800 (0.700 to" in text
    assert "undefined" in text
    files.write_json(folder / "results.json", {**results, "shifts": {"curves": [{"arm": "mae"}]}})
    with pytest.raises(DataError, match=r"results\.json"):
        report(folder)


def test_a_sweep_page_shows_undefined_values_as_such(sweep_page):
    assert "1 value is undefined and not drawn." in sweep_page.text
    assert "one class only; undefined in 300 of 300 resamples, which are left out" in sweep_page.text


def test_label_draws_are_counted_in_one_line(sweep_page):
    assert re.search(r"training 1 % 3 2 10 to 12 ", sweep_page.text)
    assert "960 to 962" in sweep_page.text


def test_missing_parts_of_a_sweep_are_said(tmp_path, make_sweep):
    folder = make_sweep(tmp_path / "sweep", fractions=(5.0,), arms=("mae", "pixels"))
    results = files.read_json(folder / "results.json")
    results |= {"primary": None, "verdicts": [], "equivalence": [], "paired": [], "counts": [], "remarks": []}
    files.write_json(folder / "results.json", results)
    (folder / "embeddings.parquet").unlink()
    page = Tags(sweep_report(folder).read_text())
    for words in (
        "there is no headline verdict",
        "scratch with all labels is not among the results",
        "No two arms were compared.",
        "No embedding was kept",
        "There was nothing to remark on.",
        "No counts were kept.",
    ):
        assert words in page.text


def test_unknown_sites_are_said_and_many_are_joined(tmp_path, make_sweep):
    folder = make_sweep(tmp_path / "sweep", fractions=(5.0, 100.0))
    table = pd.read_parquet(folder / "embeddings.parquet")
    table["site"] = [f"site-{i % 12:02}" for i in range(len(table))]
    table.loc[table["arm"] == "simclr", "site"] = None
    table.to_parquet(folder / "embeddings.parquet", index=False)
    page = Tags(report(folder).read_text())
    assert "No site is known of these images." in page.text
    assert "other (5)" in page.text


def test_large_maps_are_thinned_and_say_so(tmp_path, make_sweep):
    folder = make_sweep(tmp_path / "sweep", fractions=(5.0, 100.0))
    table = pd.read_parquet(folder / "embeddings.parquet")
    pd.concat([table] * 6).to_parquet(folder / "embeddings.parquet", index=False)
    page = report(folder)
    assert "1,000 of 3,000 images are drawn." in Tags(page.read_text()).text
    assert page.stat().st_size < 2_000_000


@pytest.mark.parametrize("make", ["none", "file", "empty"])
def test_what_is_neither_run_nor_sweep_is_refused(tmp_path, make):
    path = tmp_path / "x"
    if make == "file":
        path.write_text("x")
    elif make == "empty":
        path.mkdir()
    with pytest.raises(DataError, match=r"folder|neither") as error:
        report(path)
    assert error.value.exit_code == 65
    assert error.value.fix


def test_an_unfinished_sweep_is_refused_with_the_way_on(tmp_path, make_sweep):
    folder = make_sweep(tmp_path / "sweep")
    (folder / "results.json").unlink()
    (folder / "cells" / "a.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"cells done so far: 1.*--resume"):
        report(folder)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "name",
    [
        "settings.yaml",
        "provenance.json",
        "choices.json",
        "metrics.jsonl",
        "samples.safetensors",
        "pretrained_on.parquet",
    ],
)
def test_damaged_files_of_a_run_are_named(tmp_path, run_folder, name):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / name).write_bytes(b"{broken\x00: [\n{")
    with pytest.raises(DataError, match=name):
        report(folder, tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"kind": "step", "step": 3}', "lacks epoch"),
        ('{"kind": "monitor", "step": "three", "epoch": 1}', "step 'three', which is not a number"),
        ("3", "Row 1 of 'the log' is not names with values"),
    ],
)
def test_a_line_of_the_log_that_lacks_something_is_named(tmp_path, run_folder, line, said):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "metrics.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match=rf"{said}.*metrics\.jsonl"):
        report(folder, tmp_path / "out.html")


_ROW = {"mode": "probe", "test_set": "id", "domain": "id", "arm": "mae", "metric": "auroc", "fraction": 5, "value": 1}


@pytest.mark.parametrize(
    "content",
    [[], {}, {"label": 1}, {"scores": 3}, {"scores": [{"arm": "mae"}]}, {"scores": [3]}, "{",
     {"scores": [{**_ROW, "value": "0.9"}]}, {"scores": [{**_ROW, "arm": 3}]}],
)  # fmt: skip
def test_damaged_results_are_named(tmp_path, sweep_folder, content):
    folder = shutil.copytree(sweep_folder, tmp_path / "sweep")
    (folder / "results.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=r"results\.json"):
        report(folder)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path, run_folder, monkeypatch):
    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files._disk, "write", full)
    with pytest.raises(StorageError, match="disk is full"):
        report(run_folder, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_held_nobody_out_does_not_claim_it(tmp_path, make_run):
    folder = make_run(tmp_path / "run")
    assert "test patients are not among them" in run_report(folder).read_text()
    path = folder / "settings.yaml"
    path.write_text(path.read_text().replace("holdout: 0.3", "holdout: 0.0"))
    page = run_report(folder).read_text()
    assert "no patient was kept for tests" in page
    assert "not among them" not in page
