"""`medssl list`: what there is, and what works with what."""

import typer


def command(
    kind: str = typer.Argument(
        "", metavar="[KIND]", help="methods, backbones, modalities, pipelines or datasets.", show_default=False
    ),
    json_output: bool = typer.Option(False, "--json", help="Print the list as JSON."),
) -> None:
    """List methods, backbones, modalities, pipelines or datasets, and what works with what, a line of help each.

    Without KIND: how many of each there are. Whatever is installed beside medssl and names itself is listed, too.
    """
    import json

    from medssl import catalogue
    from medssl.cli import facts

    if not kind:
        counts = {name: [entry.name for entry in catalogue.listed(name)] for name in catalogue.KINDS}
        if json_output:
            typer.echo(json.dumps(counts, indent=2))
        else:
            facts.say([(name, f"{len(found)}: medssl list {name}") for name, found in counts.items()])
        return
    entries = catalogue.listed(kind)
    if json_output:
        typer.echo(json.dumps([entry.as_dict() for entry in entries], indent=2))
        return
    for entry in entries:
        typer.echo(f"{entry.name}: {entry.help}")
        facts.say([(f"  {name}", _told(value)) for name, value in entry.facts.items() if value])


def _told(value: str | list[str]) -> str:
    return value if isinstance(value, str) else ", ".join(value)
