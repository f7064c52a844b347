#!/bin/bash
#BSUB -J lb-alexnet-1a2b3c4d
#BSUB -P ABC123
#BSUB -nnodes 8
#BSUB -W 30
#BSUB -wt 2 -wa TERM
#BSUB -o lb-alexnet-1a2b3c4d.log
#BSUB -cwd .
# Suite alexnet on 1,2,4,8 nodes of lsf, one after another.
# Written by layerbench submit.

run=/scratch/me/runs/first
job=/scratch/me/runs/first/batch/lb-alexnet-1a2b3c4d  # with .sh, .log, .started and .exit: the job's files

# layerbench submit has made the folder of these files; a script submitted by hand makes it.
case "${LS_SUBCWD-}" in
    /scratch/me/runs/first/batch) ;;
    *) mkdir -p "${job%/*}" ;;
esac
# Stop here if this machine does not see the folders.
cd /home/me/project && [ -d "${job%/*}" ] || {
    echo "${job%/*} or the folder it was submitted from is not shared with $(hostname)" >&2
    exit 97
}
rm -f "$job.exit"
hostname > "$job.started"

# The job's last act: whoever sees this file knows that it is over, and how it ended.
end() {
    echo "$1" > "$job.exit.new" && mv "$job.exit.new" "$job.exit"
    exit "$1"
}

export OMP_NUM_THREADS=42

set -u  # not earlier: scripts behind module use variables that are not set

# If there is a run already, only what it lacks is measured.
resume=
[ -f "$run/run.json" ] && resume=--resume

# 120 s before its time is up the scheduler sends SIGTERM. It is passed on: the run ends, keeping what it has measured.
/home/me/venv/bin/python -m layerbench run \
    --suite alexnet --batch 128 --nodes 1,2,4,8 --ranks-per-node 1 --threads-per-rank 42 \
    --launcher jsrun \
    --output "$run" $resume &
pid=$!
trap 'kill -TERM "$pid"' TERM
wait "$pid"; code=$?
while kill -0 "$pid" 2>/dev/null; do wait "$pid"; code=$?; done  # a trapped signal ends wait early
end "$code"
