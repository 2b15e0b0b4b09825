"""`resnet50 status`: how runs stand, and what to do about it."""

import argparse
import json

from resnet50_recipe.terminal import say

from ..training.run_folder import open_run


_GO_ON = "go on by the same command with --resume_from_checkpoint auto"


def run(options: argparse.Namespace) -> None:
    """Print a line for each run."""
    for folder in options.runs:
        run_folder, recipe = open_run(folder)
        word, status = run_folder.stands(), run_folder.status()
        if options.json:
            checkpoint = run_folder.newest_checkpoint
            say(json.dumps({"folder": str(folder), **status, "status": word, "checkpoint": checkpoint}))
            continue
        if not status:
            say(f"{folder}: no status yet, or none that can be read")
            continue
        where = f"epoch {status['epoch']} of {recipe.num_train_epochs} done, {status['step']:,} steps"
        process = f"process {status['pid']} on {status['host']}"
        told = {
            "running": f"{process}, since {status['since']}",
            "killed": f"{process} is not there any more: {_GO_ON}",
            "stopped": f"{status['reason']}: {_GO_ON}",
            "failed": f"{status['reason']}",
            "finished": "; ".join(filter(None, [status["reason"], status["written"]])),
        }
        say(f"{folder}: {word}, {where}; {told[word]}")
