"""What a file is, from its first bytes and not from its name."""

import re
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple

Form = Literal["safetensors", "torch", "torchscript", "pickle"]

_HEAD = 512
_SHOWN = 40
_LEGACY_TORCH = re.compile(rb"\x80.\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", re.DOTALL)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_RECORD = re.compile(r"[^/]+/(?:data\.pkl|data/\d+)")
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it stands for; run `git lfs pull` where it lies"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"Rar!", "a rar archive; unpack it"),
    (b"GGUF", "a GGUF file, which is not read; get the checkpoint as .safetensors"),
    (b"\x93NUMPY", "a numpy array, which is not read; save the state dict as .safetensors"),
    (b"\x89HDF", "an HDF5 file (Keras), which is not read; get the checkpoint as .safetensors"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "a Parquet file"),
)
_PATTERNS: tuple[tuple[bytes, str], ...] = (
    (rb"\Z", "empty"),
    (rb".{257}ustar", "a tar archive; unpack it"),
    (
        rb"(?:\xef\xbb\xbf)?\s*<(?i:!doctype|!--|html|head|body|\?xml)",
        "an HTML page, not the file it links to; download the file itself",
    ),
    (
        rb"\x08[\x01-\x40](?:\x12[\x01-\x40][\x20-\x7e]|:)",
        "an ONNX model, which is not read; save the torch model's state dict as .safetensors",
    ),
)
_OTHERS = [
    *((re.compile(re.escape(magic)), words) for magic, words in _MAGIC),
    *((re.compile(pattern, re.DOTALL), words) for pattern, words in _PATTERNS),
]


class FileKind(NamedTuple):
    """A checkpoint's form, or the words for anything else."""

    form: Form | None
    words: str


def kind_of(path: Path) -> FileKind:
    """Recognise a file; nothing of it is run or unpacked.

    Args:
        path: of an existing file.

    Returns:
        Its form where that is one of a checkpoint, and words that complete "it is ...".

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # Before all other kinds: the length of a header may look like any of them, but only here a "{" follows it.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return FileKind("safetensors", "a safetensors file")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zipped(path)
    if _LEGACY_TORCH.match(head):
        return FileKind("torch", "a torch checkpoint")
    if _PICKLE.match(head):
        return FileKind("pickle", "a Python pickle")
    return FileKind(
        None, next((words for pattern, words in _OTHERS if pattern.match(head)), None) or _text_or_bytes(head)
    )


def _zipped(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception:  # a damaged directory makes zipfile raise whatever it meets
        return FileKind(None, "a zip archive that is cut or damaged; copy or download it again")
    names = [member.filename for member in members]
    if not any(name.endswith("/data.pkl") for name in names):
        shown = ", ".join(repr(name[:_SHOWN]) for name in names[:2]) or "nothing"
        return FileKind(None, f"a zip archive that holds {shown}; unpack it and give the file inside")
    # torch stores its records as they are; a compressed one could unpack to any size.
    if any(member.compress_type != zipfile.ZIP_STORED for member in members if _RECORD.fullmatch(member.filename)):
        return FileKind(None, "a compressed zip archive, as torch writes none; save its state dict as .safetensors")
    if any(name.endswith("/constants.pkl") for name in names):
        return FileKind("torchscript", "a TorchScript archive")
    return FileKind("torch", "a torch checkpoint")


def _text_or_bytes(head: bytes) -> str:
    # The read may have ended inside a character.
    text = head.decode("utf-8", errors="ignore")
    if len(text.encode()) < len(head) - 3 or any(ord(char) < 32 and char not in "\t\r\n" for char in text):
        if head[8:10] == b'{"':
            n_bytes = int.from_bytes(head[:8], "little")
            return (
                f"a safetensors file whose header claims {n_bytes} bytes, more than it has; copy or download it again"
            )
        return f"of no known kind, its first bytes are {head[:8].hex(' ')}"
    stripped = text.lstrip("\ufeff \t\r\n")
    return f"{'JSON' if stripped[:1] in ('{', '[') else 'text'}, which begins {stripped[:_SHOWN]!r}"
