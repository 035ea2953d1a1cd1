"""Train or export the multimodal starter: `python -m generation.training.multimodal --minutes 90 [--resume]`.

Three stages: `--stage draw` learns to draw from nothing. From the folder that it exported, `--stage see` teaches the
vision tower, and `--stage follow` then teaches all tasks together: draw, describe, edit.
Only reads arguments and calls the trainer; a management command does the same for operators.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from generation.training.multimodal.architecture import read_model
from generation.training.multimodal.codebook import Codebook
from generation.training.multimodal.export import export
from generation.training.multimodal.plan import SEEN_AT_ONCE, Plan, following_plan
from generation.training.multimodal.seeing import build_seer
from generation.training.multimodal.trainer import build_trainer
from generation.training.multimodal.vocabulary import build_tokenizer
from generation.training.world import World, all_words, training_dir

STARTER = Path(__file__).resolve().parents[2] / "starter" / "multimodal"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m generation.training.multimodal", description=__doc__)
    parser.add_argument("--stage", choices=("draw", "see", "follow"), default="draw")
    parser.add_argument(
        "--start", type=Path, default=STARTER, help="the exported folder that see and follow begin with"
    )
    parser.add_argument("--minutes", type=float, default=90.0, help="how long to train in this run; 0 only exports")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the loadable folder when done")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--batch", type=int, default=Plan(Path()).batch, help="pictures a step")
    parser.add_argument("--folder", type=Path, help="where checkpoints and the learning curve are kept")
    return parser.parse_args(arguments)


def plan_of(options: argparse.Namespace) -> Plan:
    """Following keeps its checkpoints apart, beside the eyes that it begins with."""
    folder, numbers = options.folder or training_dir() / "multimodal", {"minutes": options.minutes}
    if options.stage == "draw":
        return Plan(folder, batch=options.batch, **numbers)
    return following_plan(options.folder or folder / "follow", options.start, batch=options.batch, **numbers)


def see(options: argparse.Namespace, world: World) -> None:
    codebook = Codebook.build(world)
    tokenizer = build_tokenizer(all_words())
    plan = replace(Plan(plan_of(options).folder, minutes=options.minutes), batch=SEEN_AT_ONCE)
    build_seer(plan, codebook, read_model(options.start, codebook), tokenizer, resume=options.resume).train()


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    world = World.build()
    if options.stage == "see":
        see(options, world)
        return
    trainer = build_trainer(plan_of(options), world, resume=options.resume)
    if options.minutes > 0:
        trainer.train()
    if options.export:
        export(trainer, options.export)


if __name__ == "__main__":
    main()
