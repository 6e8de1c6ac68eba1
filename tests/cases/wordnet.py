"""A WordNet of a few words, in the format that nltk reads."""

from pathlib import Path

# Every synset: part of speech, its words, what it means.
_SYNSETS = (("n", ("sofa", "couch"), "a seat"), ("n", ("dog",), "an animal"), ("v", ("hold", "grip"), "have in a hand"))
_NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_LEXICAL_FILES = 45


def write_wordnet(folder: Path, end: str = "\n") -> Path:
    """Write it; `end` ends lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for letter, name in _NAMES.items():
        data, places = "", {}
        for pos, words, gloss in _SYNSETS:
            if pos == letter:
                listed = " ".join(f"{word} 0" for word in words)
                frames = " 01 + 08 00" if pos == "v" else ""
                places |= {word: len(data) for word in words}
                data += f"{len(data):08d} 03 {pos} {len(words):02x} {listed} 000{frames} | {gloss}{end}"
        index = "".join(f"{word} {letter} 1 0 1 0 {place:08d}{end}" for word, place in sorted(places.items()))
        (folder / f"data.{name}").write_bytes(data.encode())
        (folder / f"index.{name}").write_bytes(index.encode())
        (folder / f"{name}.exc").write_bytes(b"")
    (folder / "lexnames").write_bytes("".join(f"{i:02d}\tfile.{i}\t1{end}" for i in range(_LEXICAL_FILES)).encode())
    return folder
