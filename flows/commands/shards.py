"""`uwm shards pack`, `import-visu` and `check`."""

import typer

app = typer.Typer()


@app.command("x")
def x() -> None: ...
@app.command("y")
def y() -> None: ...
