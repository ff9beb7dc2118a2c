"""`medssl doctor`: does this machine have what it takes, and if not, what to do."""

import typer


def command(
    json_output: bool = typer.Option(False, "--json", help="Print the findings as JSON."),
) -> None:
    """Check versions, devices, decoders, memory and writable places; say what to do about each problem.

    Ends with exit code 1 when something would stop a run, such as a GPU that is present but cannot be used.
    """
    import json

    from medssl.doctor import examine

    findings = examine()
    if json_output:
        typer.echo(json.dumps([finding._asdict() for finding in findings], indent=2))
    else:
        width = max(len(finding.subject) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.mark:4}  {finding.subject:{width}}  {finding.text}")
            if finding.fix:
                typer.echo(f"{'':6}{'':{width}}  -> {finding.fix}")
    if any(finding.mark == "FAIL" for finding in findings):
        raise typer.Exit(1)
