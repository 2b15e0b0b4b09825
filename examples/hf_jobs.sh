#!/bin/sh
# ImageNet on 8 GPUs of Hugging Face Jobs: examples/hf_jobs.sh user/resnet50-imagenet1k
# The machine is gone when the job ends: the same command goes on from the backup on the Hub.
set -eu
model=${1:?which repository? examples/hf_jobs.sh user/name}
repository=${REPOSITORY:?where is this project? REPOSITORY=https://… of a git repository that Jobs can clone}

hf jobs run --flavor a100x8 --timeout 48h --secrets HF_TOKEN pytorch/pytorch:latest \
  bash -c "git clone --depth 1 $repository resnet50 && cd resnet50 && pip install . &&
    torchrun --nproc_per_node 8 --max_restarts 3 train.py --config recipes/imagenet1k.yaml --mixed_precision fp16 \
    --streaming true --checkpoint_every_minutes 30 --keep_last 2 --push_to_hub true --hub_model_id $model \
    --hub_backup_id $model-backup --resume_from_checkpoint auto"
