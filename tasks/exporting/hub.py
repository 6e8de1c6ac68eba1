"""An exported folder on the Hugging Face hub, or on a server that answers as it does (HF_ENDPOINT)."""

from pathlib import Path

from data_specs.errors import SpecError
from data_specs.wording import first_line, one_line, shown
from tasks.exporting.places import HUB_NAME


def require_hub_name(name: str, option: str) -> None:
    """Refuse what is no name of a model on the hub, before anything is written.

    Raises:
        SpecError: it is none.
    """
    if not HUB_NAME.fullmatch(name):
        raise SpecError(f"{option} {shown(name)} is no name of a model on the hub; expected ORG/NAME")


def push_folder(folder: Path, name: str, *, public: bool) -> str:
    """Put a folder's files into a repository of the hub, in one commit.

    Args:
        folder: an exported model.
        name: `ORG/NAME`; made where it is not there yet, and left as private or public as it is where it is.
        public: whether everybody may read a repository that is made.

    Returns:
        The commit's address.

    Raises:
        SpecError: nobody is logged in, the hub refuses, or it cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token

    if get_token() is None:
        raise SpecError(f"nobody is logged in to {constants.ENDPOINT}; set HF_TOKEN, or use `hf auth login`")
    api = HfApi(library_name="unsafe-weights")
    files = [CommitOperationAdd(path.name, path) for path in sorted(folder.iterdir()) if path.is_file()]
    try:
        api.create_repo(name, private=not public, exist_ok=True)
        commit = api.create_commit(name, files, commit_message="Edited with Unsafe Weights Manipulation")
    except Exception as error:  # the library's releases differ in what they talk with, and in its errors
        raise SpecError(
            f"cannot push to {name} on {constants.ENDPOINT}: {one_line(first_line(error), 300)}; {folder} is complete, and"
            " the token needs the right to write there"
        ) from error
    return str(commit.commit_url)
