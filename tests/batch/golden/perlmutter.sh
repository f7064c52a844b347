#!/bin/bash
#SBATCH --job-name=lb-alexnet-1a2b3c4d
#SBATCH --account=ABC123
#SBATCH --qos=regular
#SBATCH --constraint=gpu
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=00:30:00
#SBATCH --signal=B:TERM@120
#SBATCH --output=lb-alexnet-1a2b3c4d.log
#SBATCH --gpu-bind=closest
# Suite alexnet on 1,2,4,8 nodes of perlmutter, one after another in this allocation.
# Written by layerbench submit.

run=/scratch/me/runs/first
job=/scratch/me/runs/first/batch/lb-alexnet-1a2b3c4d  # and .sh, .log, .started, .exit

# Stop here if this machine does not see the folders. A script submitted by hand makes that of its job.
[ "${SLURM_SUBMIT_DIR-}" = "${job%/*}" ] || mkdir -p "${job%/*}"
cd /home/me/project && [ -d "${job%/*}" ] || {
    echo "${job%/*} or the folder it was submitted from is not shared with $(hostname)" >&2
    exit 97
}
rm -f "$job.exit"
hostname > "$job.started"

export OMP_NUM_THREADS=16
export SRUN_CPUS_PER_TASK=32
export MPICH_GPU_SUPPORT_ENABLED=1

set -u  # only now: what sites define for module uses variables that are not set

# If there is a run already, only what it lacks is measured.
resume=
[ -f "$run/run.json" ] && resume=--resume

# 120 s before its time is up the scheduler sends SIGTERM. It is passed on: the run ends, keeping what it has measured.
/home/me/venv/bin/python -m layerbench run \
    --suite alexnet --batch 128 --nodes 1,2,4,8 --ranks-per-node 4 --threads-per-rank 16 \
    --launcher srun \
    --output "$run" $resume &
pid=$!
trap 'kill -TERM "$pid"' TERM
wait "$pid"; code=$?
while kill -0 "$pid" 2>/dev/null; do wait "$pid"; code=$?; done  # a trapped signal ends wait early

# Written last: it says that the run is over, and how it ended.
echo "$code" > "$job.exit.new" && mv "$job.exit.new" "$job.exit"
exit "$code"
