"""The world the starters know: nouns, colours, scenes, captions, true pictures, the split and the judge.

    world = World.build()                  # renders once, about 20 s, then cached
    scene = world.sample(Random(0))        # never a held-out combination
    text, pixels = caption(scene, Random(0)), world.compose(scene)
    judge(world, pixels, scene).right

No torch and no Django in here.
"""

from generation.training.world.captions import all_words, answer, caption, plain_caption
from generation.training.world.edits import (
    EDIT_KINDS,
    KEEP,
    QUESTIONS,
    Edit,
    EditKind,
    sample_described,
    sample_edit,
    sample_lone,
)
from generation.training.world.icons import training_dir
from generation.training.world.judge import Verdict, judge, read_ground, read_noun
from generation.training.world.nouns import COLOURS, NOUN_BY_NAME, NOUNS, Noun
from generation.training.world.scene import (
    CANVAS,
    COLUMNS,
    PAIR_SPOTS,
    RELATIONS,
    ROWS,
    TILE,
    TILES,
    Placed,
    Relation,
    Scene,
    Size,
    Spot,
)
from generation.training.world.split import held_out, held_out_ground, held_out_pair
from generation.training.world.world import World

__all__ = [
    "CANVAS",
    "COLOURS",
    "COLUMNS",
    "EDIT_KINDS",
    "KEEP",
    "NOUNS",
    "NOUN_BY_NAME",
    "PAIR_SPOTS",
    "QUESTIONS",
    "RELATIONS",
    "ROWS",
    "TILE",
    "TILES",
    "Edit",
    "EditKind",
    "Noun",
    "Placed",
    "Relation",
    "Scene",
    "Size",
    "Spot",
    "Verdict",
    "World",
    "all_words",
    "answer",
    "caption",
    "held_out",
    "held_out_ground",
    "held_out_pair",
    "judge",
    "plain_caption",
    "read_ground",
    "read_noun",
    "sample_described",
    "sample_edit",
    "sample_lone",
    "training_dir",
]
