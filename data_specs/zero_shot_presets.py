"""The paper's zero-shot data sets: their names and the one prompt template of each."""

import re
from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field, field_validator

from data_specs.spec import Spec
from data_specs.wording import shown

# Where a template takes the class name; other braces are text.
CLASS_PLACE = "{c}"

_SEPARATORS = re.compile(r"[-_/]")


class ZeroShotPreset(Spec):
    """One data set of the paper."""

    key: str = Field(min_length=1, description="CLIP_benchmark's name")
    column: str = Field(min_length=1, description="name in the paper's table")
    template: str = Field(description="the paper's prompt, with {c} in place of the class name")
    aliases: tuple[str, ...] = Field(description="further names in use, lower case")

    @field_validator("template")
    @classmethod
    def _names_the_class(cls, value: str) -> str:
        if CLASS_PLACE not in value:
            raise ValueError(f"template {shown(value)} lacks {CLASS_PLACE}")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that it is found by."""
        return (self.key, self.column, *self.aliases)


@cache
def zero_shot_presets() -> tuple[ZeroShotPreset, ...]:
    """All presets, in the order of the paper's table."""
    text = (files("data_specs") / "zero_shot_presets.yaml").read_text(encoding="utf-8")
    return tuple(ZeroShotPreset.model_validate(entry) for entry in yaml.safe_load(text))


def find_preset(name: str) -> ZeroShotPreset | None:
    """The preset of a data set, or None where the paper has no such set.

    Args:
        name: a key, an alias or the paper's name; case, `-`, `_`, `/` and a leading `wds_` or
            `vtab/` do not matter.
    """
    return _by_bare_name().get(_bare(name))


@cache
def _by_bare_name() -> dict[str, ZeroShotPreset]:
    return {_bare(name): preset for preset in zero_shot_presets() for name in preset.names}


def _bare(name: str) -> str:
    return _SEPARATORS.sub("", name.lower()).removeprefix("wds").removeprefix("vtab")
