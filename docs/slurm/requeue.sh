#!/bin/bash
# Trains under SLURM until the run is finished, however often the job is preempted or its time is up:
#
#   sbatch docs/slurm/requeue.sh experiment=reference
#
# What follows the script are keys of `python -m train`. RUN_DIR names the run's folder; without it, there is one for
# each job. Each start of the job runs the same command line, which goes on where the last one was.
#SBATCH --job-name=jaxdlb
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
#SBATCH --open-mode=append

python -m train resume=auto run_dir="${RUN_DIR:-runs/slurm_${SLURM_JOB_ID:?}}" "$@" &
training=$!
trap 'kill -TERM "$training"' TERM  # of the signals above SLURM tells this shell alone

wait "$training"
status=$?
while kill -0 "$training" 2> /dev/null; do  # a signal ends `wait`, and training is still saving its checkpoint
  wait "$training"
  status=$?
done

if [ "$status" -eq 143 ] && [ -n "$SLURM_JOB_ID" ]; then  # stopped by SIGTERM: back into the queue
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
