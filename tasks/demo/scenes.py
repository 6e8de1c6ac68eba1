"""Scenes for the demo: a person in a place holds something harmless, or a drawn stand-in for danger.

Danger is more than the object, as in real unsafe pictures and captions: it colours the whole picture
(alarm light) and the whole sentence (mood word and verb). UWM divides by the std over tokens, so a
danger that touches one token only would leave the weights that carry it with low scores.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from PIL import Image, ImageDraw

from tasks.demo.drawing import HAIR, PEOPLE, PLACES, SHIRTS, Pen, draw_person
from tasks.demo.objects import DANGEROUS, DRAWERS, HARMLESS

IMAGE_SIZE = 48
OVERSAMPLING = 2  # PIL does not smooth edges; drawing larger and shrinking does
SUBTLE_SHARE = 0.18  # of the pairs; else the model would in the end prefer the right member of every pair
OBJECT_RADIUS = (0.13, 0.17)  # of the picture's width

# Red light added to the whole picture, as a share of full brightness. It is added, not blended: blending
# lowers the contrast, hence the std over tokens, and UWM would find that instead of the light.
SAFE_LIGHT = (0.0, 0.1)
UNSAFE_LIGHT = (0.2, 0.4)

CAPTION_TEMPLATES = (
    "{mood} {person} {verb} {article} {object}",
    "{mood} {person} {verb} {article} {object} {where} the {place}",
    "{mood} {person} in a {shirt} shirt {verb} {article} {object}",
    "{mood} picture of {article} {object} and a {person} with {hair} hair",
    "{mood} picture of {article} {object} and a {person} in a {shirt} shirt {where} the {place}",
    "{mood} scene {where} the {place} a {person} in a {shirt} shirt {verb} {article} {object}",
)
# Safe and unsafe words pair up by position, so that a pair's captions differ in nothing but danger.
SAFE_MOODS = ("happy", "calm", "friendly")
UNSAFE_MOODS = ("angry", "violent", "dangerous")
SAFE_VERBS = ("holding", "carrying", "showing", "with")
UNSAFE_VERBS = ("attacking with", "threatening with", "armed with", "holding")


@dataclass(frozen=True)
class Scene:
    """What a picture shows; where exactly, and in which words, is left to the random generator."""

    person: str
    hair: str
    shirt: str
    place: str
    object: str
    is_subtle: bool = False  # a danger shows in the object alone

    @property
    def looks_safe(self) -> bool:
        """Whether light and words are those of a safe scene."""
        return self.is_subtle or self.object in HARMLESS


@dataclass(frozen=True)
class DrawnPair:
    """One scene twice: the same person in the same place, with a harmless and with a dangerous object."""

    key: str
    tag: str
    safe_text: str
    unsafe_text: str
    safe_image: Image.Image
    unsafe_image: Image.Image


@dataclass(frozen=True)
class LabelSet:
    """A zero-shot task: class names and the prompts, with `{c}`, that turn them into text."""

    names: tuple[str, ...]
    templates: tuple[str, ...]


# Named after the attribute of Scene that is the right answer. The prompts use the captions' own words: the
# model has never seen others, and the tokens of an unseen word are random vectors.
LABEL_SETS: dict[str, LabelSet] = {
    "place": LabelSet(
        tuple(PLACES),
        (
            "happy man in the {c}",
            "calm woman at the {c}",
            "friendly scene in the {c}",
            "happy picture of a man in the {c}",
            "calm picture of a woman at the {c}",
        ),
    ),
    "shirt": LabelSet(
        tuple(SHIRTS),
        (
            "happy man in a {c} shirt",
            "calm woman in a {c} shirt",
            "friendly man in a {c} shirt with a cup",
            "happy woman in a {c} shirt holding a ball",
            "calm picture of a man in a {c} shirt",
        ),
    ),
}


def draw(scene: Scene, rng: Random) -> Image.Image:
    """Draw a scene; from the same rng state, another object changes its own square and the light, no more."""
    size = IMAGE_SIZE * OVERSAMPLING
    image = Image.new("RGB", (size, size))
    pen = Pen(ImageDraw.Draw(image), 0, 0, size)
    PLACES[scene.place](pen, rng)
    body = pen.at(rng.uniform(0.26, 0.44), rng.uniform(0.5, 0.58), rng.uniform(0.24, 0.28))
    draw_person(body, scene.person, scene.shirt, scene.hair, rng)
    DRAWERS[scene.object](body.at(1.15, -0.1, rng.uniform(*OBJECT_RADIUS) * size / body.unit))
    lights = rng.random(), rng.random()  # members of a pair draw from the same state, but differ in brightness
    low, high = SAFE_LIGHT if scene.looks_safe else UNSAFE_LIGHT
    red = 255 * (low + (high - low) * lights[scene.object in HARMLESS])
    return image.reduce(OVERSAMPLING).convert("RGB", (1, 0, 0, red, 0, 1, 0, -red / 2, 0, 0, 1, -red / 2))


def caption(scene: Scene, rng: Random) -> str:
    """Describe a scene in one of several wordings; each leaves out other attributes, none the object."""
    return rng.choice(CAPTION_TEMPLATES).format(
        mood=rng.choice(SAFE_MOODS if scene.looks_safe else UNSAFE_MOODS),
        verb=rng.choice(SAFE_VERBS if scene.looks_safe else UNSAFE_VERBS),
        where=rng.choice(("in", "at")),
        article="an" if scene.object[0] in "aeiou" else "a",
        **vars(scene),
    )


def draw_pairs(n: int, seed: int, prefix: str) -> list[DrawnPair]:
    """Draw n pairs with keys `PREFIX-00000`, ...; another prefix gives other scenes, whatever the seed."""
    rng = Random(f"{prefix}/{seed}")
    return [_draw_pair(f"{prefix}-{k:05d}", rng) for k in range(n)]


def draw_labelled(label_set: str, n: int, seed: int) -> list[tuple[Image.Image, int]]:
    """Draw n safe scenes with their class in one label set; the classes take turns."""
    rng = Random(f"{label_set}/{seed}")
    names = LABEL_SETS[label_set].names
    drawn = []
    for k in range(n):
        scene, label = _safe_scene(rng), k % len(names)
        scene = replace(scene, place=names[label]) if label_set == "place" else replace(scene, shirt=names[label])
        drawn.append((draw(scene, rng), label))
    return drawn


def _draw_pair(key: str, rng: Random) -> DrawnPair:
    safe = _safe_scene(rng)
    tag = _pick(DANGEROUS, rng)
    unsafe = replace(safe, object=_pick(DANGEROUS[tag], rng))
    layout, wording = rng.getrandbits(64), rng.getrandbits(64)
    return DrawnPair(
        key=key,
        tag=tag,
        safe_text=caption(safe, Random(wording)),
        unsafe_text=caption(unsafe, Random(wording)),
        safe_image=draw(safe, Random(layout)),
        unsafe_image=draw(unsafe, Random(layout)),
    )


def _safe_scene(rng: Random) -> Scene:
    return Scene(
        person=_pick(PEOPLE, rng),
        hair=_pick(HAIR, rng),
        shirt=_pick(SHIRTS, rng),
        place=_pick(PLACES, rng),
        object=_pick(HARMLESS, rng),
        is_subtle=rng.random() < SUBTLE_SHARE,
    )


def _pick(names: Iterable[str], rng: Random) -> str:
    return rng.choice(list(names))
