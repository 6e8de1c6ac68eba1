"""What `uwm edit` and `uwm export` say of a LLaVA that they wrote."""

from typing import TYPE_CHECKING

import typer

from data_specs.wording import printable

if TYPE_CHECKING:
    from flows.llava_folders import LlavaMade


def tell_llava(made: "LlavaMade") -> None:
    """Say what was written, and what there is to know of it."""
    from tasks.manipulation.llava.edited_folder import notices_of

    done = made.done
    typer.echo(
        printable(
            f"wrote {made.folder}: {done.n_weights:,} weights of {len(done.layers)} layers, in"
            f" {', '.join(done.files.rewritten)}; {len(done.files.linked)} other files are links to the original's"
        )
    )
    for sentence in notices_of(done):
        typer.echo(printable(f"notice: {sentence}"), err=True)
