"""Train or export the multimodal starter: `python -m generation.training.multimodal --minutes 90 [--resume]`.

Only reads arguments and calls the trainer; a management command does the same for operators.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from generation.training.multimodal.export import export
from generation.training.multimodal.plan import Plan
from generation.training.multimodal.trainer import build_trainer
from generation.training.world import World, training_dir


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m generation.training.multimodal", description=__doc__)
    parser.add_argument("--minutes", type=float, default=90.0, help="how long to train in this run; 0 only exports")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the loadable folder when done")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--batch", type=int, default=Plan(Path()).batch, help="pictures a step")
    parser.add_argument("--folder", type=Path, help="where checkpoints and the learning curve are kept")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    plan = Plan(options.folder or training_dir() / "multimodal", minutes=options.minutes, batch=options.batch)
    trainer = build_trainer(plan, World.build(), resume=options.resume)
    if options.minutes > 0:
        trainer.train()
    if options.export:
        export(trainer, options.export)


if __name__ == "__main__":
    main()
