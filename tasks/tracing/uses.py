"""Everything that was made from a shard, a pair, a picture, weights or an artifact."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.errors import ArtifactError, SpecError
from data_specs.manifest import ArtifactRef
from data_specs.samples import IMAGE_SUFFIXES, TEXT_SUFFIX
from data_specs.schemas import PAIR_ID_DIGEST_CHARS, pair_id
from data_specs.wording import shown, shown_path
from tasks.lineage.digest import file_sha256
from tasks.lineage.exports import export_records
from tasks.lineage.references import find_artifact
from tasks.lineage.runs import run_records
from tasks.lineage.store import Store
from tasks.lineage.tags import current_tags
from tasks.tracing.checkpoints import artifacts_with_content, encoder_digests_of
from tasks.tracing.edges import Edges
from tasks.tracing.index import open_index
from tasks.tracing.pairs import holds_pair
from tasks.tracing.rows import flattened

if TYPE_CHECKING:
    from tasks.tracing.members import Unread

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BEGINNING = re.compile(r"[0-9a-f]{8,64}")
_PAIR = re.compile(rf"([0-9a-f]{{{PAIR_ID_DIGEST_CHARS}}})/(.+)", re.DOTALL)


@dataclass(frozen=True)
class Touched:
    """An artifact that came of what was asked for.

    `direct`: it was made from it, and not from what was made from it. `certain`: False where what it holds does not tell
    whether the pair went in, such as sums over a shard.
    """

    ref: ArtifactRef
    direct: bool
    certain: bool
    runs: Sequence[str]
    tags: Sequence[str]


@dataclass
class Uses:
    """What was asked for, in words, and all that was made from it, each artifact behind what it was made of."""

    what: list[str] = field(default_factory=list)
    touched: list[Touched] = field(default_factory=list)
    exports: list[dict[str, Any]] = field(default_factory=list)
    unread: "list[Unread]" = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # artifacts of which it is not known what they were made of


def find_uses(store: Store, asked: str, shards: Iterable[Path] = (), *, fetch: bool = False) -> Uses:
    """Find what was made from something.

    Args:
        store: holds it.
        asked: a file or its SHA-256 (a shard, weights, a file of an artifact, a picture in a shard), where a shard lay,
            the id of a pair, or an artifact.
        shards: files to look through for shards that lie no more where they did.
        fetch: whether to fetch shards that lie on no local disk, to look for a picture in them.

    Returns:
        What was found; nothing where nothing was made from it.

    Raises:
        ArtifactError: it is nothing that the store knows of, or several things.
        SpecError: it is a folder of no artifact and no model.
    """
    search = _Search(store, [*shards], fetch)
    place = Path(asked)
    if (pair := _PAIR.fullmatch(asked)) is not None:
        search.pair(pair[1], pair[2])
    elif place.exists():
        search.path(place)
    elif asked in search.places:
        search.digest(search.places[asked])
    elif _DIGEST.fullmatch(asked):
        if not search.digest(asked):
            search.member(asked, f"sha256 {asked[:16]}")
    elif not (_BEGINNING.fullmatch(asked) and search.digest(asked)):
        ref = find_artifact(store, asked)
        search.what.append(f"{ref.kind} {ref.version[:16]}")
        search.starts[ref] = True
    return search.uses()


class _Search:
    def __init__(self, store: Store, moved: Sequence[Path], fetch: bool) -> None:
        self._store, self._moved, self._fetch = store, moved, fetch
        self._index = open_index(store.root)
        self._edges = Edges(self._index)
        rows = flattened(self._index.table("sources"), "sources")
        self._sources: dict[str, list[str]] = defaultdict(list)
        self._locations: dict[str, dict[str, None]] = defaultdict(dict)
        self._shards: dict[str, None] = {}
        for version, what, digest, location in _columns(rows, "version", "what", "sha256", "location"):
            self._sources[digest].append(version)
            self._locations[digest][location] = None
            if what == "shard":
                self._shards[digest] = None
        self.places = {place: digest for digest, places in self._locations.items() for place in places}
        self.what: list[str] = []
        self.starts: dict[ArtifactRef, bool] = {}  # whether that is certain
        self._unread: list[Unread] = []

    def digest(self, beginning: str) -> bool:
        """Begin with all that names a digest, or holds a file of it; returns whether anything does."""
        rows = flattened(self._index.table("files"), "files")
        rows = rows.filter(pc.starts_with(rows.column("sha256"), beginning))
        files = [*_columns(rows, "version", "path", "sha256")]
        known = {digest for _, _, digest in files} | {
            digest
            for digest in (*self._edges.used_by, *self._sources, *self._edges.versions)
            if digest.startswith(beginning)
        }
        if len(known) > 1:
            raise ArtifactError(
                f"{shown(beginning)} begins {len(known)} digests: {', '.join(sorted(known)[:3])}; write more of it"
            )
        for digest in known:
            own = [version for version, _, _ in files] + [digest] * (digest in self._edges.versions)
            self._begin([*own, *self._naming(digest)])
            self.what.append(self._words(digest, [(version, path) for version, path, _ in files]))
        return bool(known)

    def path(self, path: Path) -> None:
        """Begin with what was made from a file, or from the model in a folder."""
        refs = artifacts_with_content(self._store, path)
        if refs:
            self.starts |= dict.fromkeys(refs, True)
            self.what += [f"content of {ref.kind} {ref.version[:16]}" for ref in refs]
        if path.is_file():
            digest = file_sha256(path)
            if self.digest(digest) or refs:
                return
        tensors = [digest for digest in encoder_digests_of(path).values() if digest in self._edges.used_by]
        if tensors:
            self.what.append(f"weights {path}")
            self._begin(version for digest in tensors for version in self._edges.used_by[digest])
        elif path.is_file():
            self.member(digest, str(path))
        elif not refs:
            raise SpecError(
                f"{shown_path(path)} is a folder of no artifact and no model that the store knows; name a file"
            )

    def member(self, digest: str, told: str) -> None:
        """Begin with what took in a picture, or another member of shards, by its bytes."""
        # These bring what fetches shards, which other questions do without.
        from tasks.shards.tar import split_name
        from tasks.tracing.members import Shelf

        shards = {shard: [*self._locations[shard]] for shard in self._shards}
        shelf = Shelf(self._store.root, self._moved, fetch=self._fetch)
        found, self._unread = shelf.members_with(digest, shards)
        if not found:
            self.what.append(
                f"{told}: in none of the {len(shards) - len(self._unread)} shards that were looked through"
            )
        for item in found:
            key, ending = split_name(item.name)
            self.what.append(f"{told}: {item.name} of shard {item.location}")
            if key is not None and ending is not None:
                self._take_pair(item.shard, key, _not_of(ending))

    def pair(self, beginning: str, key: str) -> None:
        """Begin with what took in a pair."""
        digests = [digest for digest in {*self._edges.used_by, *self._sources} if digest.startswith(beginning)]
        if not digests:
            raise ArtifactError(
                f"no artifact in {self._store.root} was made from a shard whose digest begins with {beginning}, as pair"
                f' {shown(f"{beginning}/{key}")} says; see `uwm lineage sql "SELECT * FROM sources"`'
            )
        for digest in digests:
            self._take_pair(digest, key, ())
            self.what.append(f"pair {beginning}/{key} of {self._words(digest, [])}")

    def _take_pair(self, shard: str, key: str, others: Sequence[str]) -> None:
        for ref in map(self._ref, self._naming(shard)):
            if not {*ref.kind.split(".")} & {*others}:
                held = holds_pair(self._store, ref, pair_id(shard, key))
                if held is not False:
                    self.starts[ref] = self.starts.get(ref, False) or held is True

    def _naming(self, digest: str) -> list[str]:
        """The versions of artifacts that name something from outside, as an input or as a source."""
        return [*dict.fromkeys([*self._edges.used_by.get(digest, ()), *self._sources.get(digest, ())])]

    def _ref(self, version: str) -> ArtifactRef:
        return ArtifactRef.model_construct(kind=self._edges.versions[version], version=version)

    def _begin(self, versions: Iterable[str]) -> None:
        self.starts |= dict.fromkeys(map(self._ref, versions), True)

    def _words(self, digest: str, files: Sequence[tuple[str, str]]) -> str:
        if files:
            version, path = files[0]
            return f"file {path} of {self._edges.versions[version]} {version[:16]}" + (
                f" and {len(files) - 1} others" if files[1:] else ""
            )
        what = "shard" if digest in self._shards else self._edges.versions.get(digest, "sha256")
        return " ".join([what, digest[:16], *[*self._locations.get(digest, ())][:1]])

    def uses(self) -> Uses:
        """All that came of what was begun with."""
        touched = self._edges.downstream(self.starts)
        sure = [ref for ref, known in self.starts.items() if known]
        certain = {ref.version for ref in (touched if len(sure) == len(self.starts) else self._edges.downstream(sure))}
        direct = {ref.version for ref in self.starts}
        runs, tags = defaultdict(list), defaultdict(list)
        for record in run_records(self._store.root):
            for role, version in (record.get("artifacts") or {}).items():
                runs[version].append(f"{record['settings']['name']}:{role}")
        for name, ref in current_tags(self._store.root).items():
            tags[ref.version].append(name)
        told = [
            Touched(
                ref,
                ref.version in direct,
                ref.version in certain,
                [*dict.fromkeys(runs[ref.version])],
                tags[ref.version],
            )
            for ref in touched
        ]
        versions = {ref.version for ref in touched}
        exports = [record for record in export_records(self._store.root) if record["version"] in versions]
        problems = self._index.table().column("problem").drop_null().to_pylist()
        return Uses(self.what, told, exports, self._unread, problems)


def _not_of(ending: str) -> Sequence[str]:
    """The encoder that does not read a member."""
    suffix = ending.lower().rpartition(".")[2]
    return ("text",) if suffix in IMAGE_SUFFIXES else ("vision",) if suffix == TEXT_SUFFIX else ()


def _columns(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(rows.column(name).to_pylist() for name in names), strict=True)
