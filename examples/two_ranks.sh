#!/usr/bin/env bash
# Two ranks on the CPU, connected by gloo: `./two_ranks.sh`. The script is trainer.py, unchanged; with GPUs it is
# the same command. You see one table: one run in MLflow, whichever rank answers. More in docs/trainers.md.
set -euo pipefail
exec torchrun --standalone --nproc-per-node 2 "$(dirname "$0")/trainer.py"
