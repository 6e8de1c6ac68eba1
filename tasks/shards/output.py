"""Where packed shards go: numbered names, drafts that nobody sees, and all of them in place at once."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from data_specs.errors import SpecError
from data_specs.wording import shown_path
from tasks.lineage.digest import text_sha256

_FIELD = re.compile(r"%(?:0([1-9][0-9]?))?d")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|pipe:")
_SUFFIX = ".tar"


@dataclass(frozen=True)
class ShardNames:
    """Names of shards that differ in their number only."""

    folder: Path
    before: str
    width: int
    after: str

    def path(self, number: int) -> Path:
        """Where shard `number` goes."""
        return self.folder / f"{self.before}{number:0{self.width}d}{self.after}"

    def existing(self) -> list[Path]:
        """Files that already have such a name, sorted."""
        if not self.folder.is_dir():
            return []
        numbered = re.compile(re.escape(self.before) + r"[0-9]+" + re.escape(self.after))
        return sorted(path for path in self.folder.iterdir() if numbered.fullmatch(path.name))

    @contextmanager
    def drafts(self) -> Iterator[Path]:
        """A hidden folder beside the shards, on the same disk, for drafts; it is removed at the end.

        It belongs to these names, so what a killed process left in it is cleared by the next one.

        Raises:
            SpecError: another process packs to these names.
        """
        folder = self.folder / f".packing-{text_sha256(self.before + '%' + self.after)[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise SpecError(f"another process packs shards such as {self.path(0)} now; wait for it") from error
        try:
            for left in folder.glob("*.part"):
                left.unlink()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()

    def publish(self, drafts: Sequence[Path]) -> tuple[Path, ...]:
        """Give drafts their final names.

        Raises:
            SpecError: one of the names is taken.
        """
        self.refuse_existing()
        paths = tuple(self.path(number) for number in range(len(drafts)))
        done: list[Path] = []
        try:
            for draft, path in zip(drafts, paths, strict=True):
                os.replace(draft, path)
                done.append(path)
        except BaseException:
            for path in done:
                with suppress(OSError):
                    path.unlink()
            raise
        return paths

    def refuse_existing(self) -> None:
        """Make sure that no shard is written over, and that older ones do not mix with the new.

        Raises:
            SpecError: there are shards of such names.
        """
        taken = self.existing()
        if taken:
            raise SpecError(
                f"--out would mix with {len(taken)} existing shards such as {taken[0]}; remove them or choose another name"
            )


def parse_names(out: str) -> ShardNames:
    """Names from a pattern such as `DIR/name-%06d.tar`; the pattern is taken apart, never formatted with.

    Raises:
        SpecError: its file name does not hold exactly one %d or %0Nd, or does not end in .tar.
    """
    folder, _, name = out.rpartition("/")
    fields = list(_FIELD.finditer(name))
    rest = _FIELD.sub("", name)
    wrong = None
    if _REMOTE.match(out):
        wrong = "it is not a local path"
    elif not name.endswith(_SUFFIX):
        wrong = f"it does not end in {_SUFFIX}"
    elif len(fields) != 1 or "%" in rest:
        wrong = f"its file name {shown_path(name)} does not hold exactly one number field"
    elif _FIELD.search(folder):
        wrong = f"its folder {shown_path(folder)} holds a number field"
    elif not out.isprintable():
        wrong = "it holds control characters"
    if wrong:
        raise SpecError(
            f"--out {shown_path(out)} cannot be used: {wrong}; expected a pattern such as DIR/name-%06d.tar"
        )
    field = fields[0]
    place = Path(folder or ("/" if out.startswith("/") else "."))
    return ShardNames(place, name[: field.start()], int(field.group(1) or 1), name[field.end() :])
