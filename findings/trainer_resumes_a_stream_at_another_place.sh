#!/usr/bin/env bash
# One would guess: a Trainer that is resumed on a stream skips the batches that it has had, in the epoch where it was, as it does with a data set.
# True:            a stream has no length, so it takes all steps for one epoch: past the first epoch it begins with the second one's first batch, wherever it was; of three epochs, stopped at the start of the third, the second is trained twice and the third never.
# PYTHON=python3 takes the packages that are there, for a machine without a network.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PYTHON:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet transformers==5.24.0 accelerate==1.15.0 datasets==5.2.0 torch==2.14.1
  PYTHON=$folder/venv/bin/python
fi
cd "$folder"
"$PYTHON" - <<'PYTHON_CODE'
import io
import logging

import datasets
import torch
import transformers
from transformers import ResNetConfig, ResNetForImageClassification, Trainer, TrainingArguments

log = io.StringIO()
logging.getLogger("transformers").addHandler(logging.StreamHandler(log))
transformers.utils.logging.disable_progress_bar()
STEPS_OF_AN_EPOCH, EPOCHS = 10, 3
rows = datasets.Dataset.from_dict({"number": range(4 * STEPS_OF_AN_EPOCH)})


def collated(examples):
    numbers = torch.tensor([example["number"] for example in examples])
    return {"pixel_values": numbers.float().view(-1, 1, 1, 1).expand(-1, 3, 32, 32), "labels": numbers % 4}


class Recorder(Trainer):
    def training_step(self, model, inputs, *arguments, **named):
        self.seen.append(tuple(inputs["pixel_values"][:, 0, 0, 0].int().tolist()))
        return super().training_step(model, inputs, *arguments, **named)


def trained(folder, data, every, resume=None):
    model = ResNetForImageClassification(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=4))
    arguments = TrainingArguments(
        folder, use_cpu=True, report_to=[], disable_tqdm=True, max_steps=STEPS_OF_AN_EPOCH * EPOCHS, save_steps=every,
        logging_steps=1000, remove_unused_columns=False, per_device_train_batch_size=4,
    )  # fmt: skip
    trainer = Recorder(model, arguments, train_dataset=data, data_collator=collated)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.seen = []
    trainer.train(resume_from_checkpoint=resume)
    return trainer.seen


print(f"transformers {transformers.__version__}, datasets {datasets.__version__}: {EPOCHS} epochs of {STEPS_OF_AN_EPOCH} steps, shuffled")
streams = {True: rows.to_iterable_dataset().shuffle(seed=0, buffer_size=1000), False: rows}
for is_stream, stopped, goes_on_with in ((False, 14, 14), (False, 21, 21), (True, 7, 7), (True, 14, 10), (True, 21, 10)):
    folder = f"run_{is_stream}_{stopped}"
    undisturbed = trained(folder, streams[is_stream], stopped)
    log.truncate(0)
    resumed = trained(folder, streams[is_stream], stopped, f"{folder}/checkpoint-{stopped}")
    place = undisturbed.index(resumed[0])
    same = resumed == undisturbed[stopped:]
    print(f"{'a stream' if is_stream else 'a data set'}, stopped after step {stopped}: goes on after step {place}; as undisturbed: {same}")
    assert place == goes_on_with and same == (goes_on_with == stopped) and not log.getvalue()
PYTHON_CODE
