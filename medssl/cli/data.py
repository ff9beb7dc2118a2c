"""`medssl data`: dataset cards, a copy of a public dataset as a manifest, and what a manifest is made ready by."""

from pathlib import Path

import typer

app = typer.Typer(
    help="Public datasets: list, show, fetch, adopt a copy you have. Manifests: split, find duplicates.",
    no_args_is_help=True,
)


@app.command("list")
def list_cards() -> None:
    """List the datasets that medssl knows, one a line: modality, access, and what medssl can do with it."""
    from medssl.data import cards

    rows = [("dataset", "modality", "access", "medssl can")]
    for name in cards.names():
        card = cards.load(name)
        can = ["fetch"] * bool(card.files) + ["adopt"] * (not card.not_adoptable)
        rows.append((name, card.modality, card.access, ", ".join(can) or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("show")
def show(name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it.")) -> None:
    """Show where a dataset lives, its licence, citation, labels, partner and traps."""
    from medssl.data import cards
    from medssl.settings import dump_yaml

    card = cards.load(name)
    typer.echo(dump_yaml(card.model_dump(exclude_defaults=True)).rstrip())


@app.command("fetch")
def fetch(
    name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it."),
    out: Path = typer.Option(None, "-o", "--out", help="The folder that the files go to.  [default: NAME]"),
    file: str = typer.Option(None, "--file", help="Fetch this file of the set only, as `medssl data show` names it."),
) -> None:
    """Download a public dataset that needs no login, check it, and unpack it; repeat the command to go on."""
    from medssl.cli.progress import shown
    from medssl.data import cards
    from medssl.data.fetch import fetch as fetched

    folder = out or Path(name)
    with shown() as progress:
        made = fetched(name, folder, only=file, progress=progress)
    for path in made:
        typer.echo(f"wrote {path}{', the archive beside it may be deleted' if path.is_dir() else ''}")
    card = cards.load(name)
    typer.echo(f"licence: {card.licence}")
    typer.echo(f"cite: {card.citation}")
    if card.not_adoptable:
        typer.echo(f"note: {card.not_adoptable}")
    else:
        typer.echo(f"next: medssl data adopt {name} {folder}")


@app.command("adopt")
def adopt(
    name: str = typer.Argument(..., help="Name of the dataset, as `medssl data list` gives it."),
    folder: Path = typer.Argument(..., help="The copy that you have, or its one file; it is only read."),
    out: Path = typer.Option(None, "-o", "--out", help="The manifest, .parquet or .csv.  [default: NAME.parquet]"),
    image_is_patient: bool = typer.Option(
        False, "--image-is-patient", help="Take every image without a patient as a patient of its own."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a manifest of that name."),
) -> None:
    """Turn a copy of a public dataset into a manifest: labels, patients, sites and remarks as its card says."""
    from medssl import files
    from medssl.cli.progress import shown
    from medssl.data import cards
    from medssl.data.summary import summary

    target = out or Path(f"{name}.parquet")
    files.refuse_existing(target, overwrite=overwrite)
    with shown() as progress:
        manifest = cards.adopt(name, folder, progress=progress, image_is_patient=image_is_patient)
    manifest.save(target)
    for line in summary(manifest):
        typer.echo(line)
    typer.echo(f"wrote {target}")
    modality = cards.load(name).modality
    if modality in cards.WITHOUT_MODALITY:
        typer.echo(f"{modality}: {cards.WITHOUT_MODALITY[modality]}")
    else:
        typer.echo(f"next: medssl pretrain --modality {modality} --method mae --data {target}")


@app.command("split")
def split(
    manifest: Path = typer.Argument(..., metavar="MANIFEST", help="The manifest to split."),
    out: Path = typer.Option(..., "-o", "--out", metavar="FILE", help="The split manifest, .parquet or .csv."),
    test: float = typer.Option(None, "--test", help="Share of patients for tests.  [default: 0.2]"),
    val: float = typer.Option(0.0, "--val", help="Share of patients for validation."),
    seed: int = typer.Option(0, "--seed", min=0, help="Another seed, another deal."),
    stratify: str = typer.Option(None, "--stratify", metavar="LABEL", help="Deal out each class of a label by itself."),
    held_out_site: list[str] = typer.Option([], "--held-out-site", metavar="SITE ...", help="Sites to test on."),
    by_time: bool = typer.Option(False, "--by-time", help="Test on the latest patients, by study_date."),
    test_from: str = typer.Option(None, "--test-from", metavar="DAY", help="First day of the test part, YYYY-MM-DD."),
    val_from: str = typer.Option(None, "--val-from", metavar="DAY", help="First day of the validation part."),
    shared_ids: bool = typer.Option(False, "--shared-ids", help="A patient number is one person at every site."),
    together: Path = typer.Option(
        None, "--together", metavar="PAIRS", help="Never part patients of images that `medssl data duplicates` paired."
    ),
    where: str = typer.Option(None, "--where", metavar="QUERY", help="Keep images that meet a condition only."),
    again: bool = typer.Option(False, "--again", help="Replace the split that the manifest has."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a manifest of that name."),
) -> None:
    """Write the column `split` of a manifest by patient, site or time, and how it was made.

    A patient is in one part, always. Every command then tests on the part 'test' and trains on none of it.
    """
    from medssl import files
    from medssl.data import duplicates
    from medssl.data.freezing import freeze
    from medssl.data.manifest import Manifest
    from medssl.data.scan import keep
    from medssl.data.split_rule import Rule
    from medssl.errors import SettingsError

    rule = Rule(test, val, seed, stratify, tuple(held_out_site), by_time, test_from, val_from, shared_ids).checked()
    if out.suffix.lower() not in (".parquet", ".csv"):
        raise SettingsError(f"A manifest is .parquet or .csv, but got '{out}'")
    if out.resolve() == manifest.resolve() and not overwrite:
        raise SettingsError(f"The split would be written into '{out}' itself", fix="Choose another -o, or --overwrite")
    files.refuse_existing(out, overwrite=overwrite)
    pairs = duplicates.load(together) if together else ()
    frozen = freeze(keep(Manifest.load(manifest), where), rule, again=again, together=pairs)
    frozen.save(out)
    typer.echo(frozen.remarks[-1])
    if out.suffix.lower() == ".csv":
        typer.echo("note: a .csv has no place for how the split was made; a .parquet keeps it")
    typer.echo(f"wrote {out}")


@app.command("duplicates")
def find_duplicates(
    manifests: list[Path] = typer.Argument(..., metavar="MANIFEST...", help="One, or several to compare, too."),
    out: Path = typer.Option(None, "-o", "--out", metavar="PAIRS.csv", help="Write the pairs as a table."),
    sheet: Path = typer.Option(None, "--sheet", metavar="SHEET.png", help="Draw up to 12 of the pairs, least alike."),
    where: str = typer.Option(None, "--where", metavar="QUERY", help="Compare images that meet a condition only."),
    similarity: float = typer.Option(0.96, "--similarity", min=0.5, max=1, help="Least similarity of copies."),
    distance: int = typer.Option(8, "--distance", min=0, max=20, help="Most bits of 64 by which copies differ."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files of these names."),
) -> None:
    """Find images that are there twice: equal pixels, or copies flipped, turned, resized, windowed or compressed.

    Listed are pairs across patients, across parts of the split, or across manifests. Every image is read once.
    """
    from medssl import files
    from medssl.cli.progress import shown
    from medssl.data import duplicates
    from medssl.data.manifest import Manifest
    from medssl.data.scan import keep
    from medssl.errors import SettingsError
    from medssl.report import sheet as sheets
    from medssl.report.inspect_pairs import cells

    if out is not None:
        if out.suffix.lower() != ".csv":
            raise SettingsError(f"The table of pairs is a .csv, but got '{out}'")
        files.refuse_existing(out, overwrite=overwrite)
    if sheet is not None:
        sheets.check_place(sheet, overwrite=overwrite, inputs=manifests)
    loaded = [keep(Manifest.load(path), where) for path in manifests]
    with shown() as progress:
        seen = duplicates.survey(loaded, progress)
        found = duplicates.find(seen, distance=distance, similarity=similarity, progress=progress)
    for line in found.sentences():
        typer.echo(line)
    if out is not None:
        files.write_bytes(out, found.table.to_csv(index=False).encode())
        typer.echo(f"wrote {out}")
        if len(found.table) and len(manifests) == 1:
            typer.echo(f"next: medssl data split {manifests[0]} --together {out} -o SPLIT.parquet")
    if sheet is not None:
        drawn = cells(loaded, found.table)
        if drawn:
            sheets.write(sheet, drawn)
        typer.echo(f"wrote {sheet}" if drawn else "no sheet: there are no pairs")
