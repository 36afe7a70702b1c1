#!/bin/sh
# One job on four machines under Slurm: sbatch configs/cluster/slurm.sh JOB.yaml
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
# Before the time is over all ranks save; the job is put back into the queue and goes on.
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
mpirun --map-by node --bind-to none solera train "$1" --resume &
pid=$!
trap 'kill -USR1 $pid' USR1
wait $pid
code=$?
while kill -0 $pid 2>/dev/null; do
    wait $pid
    code=$?
done
[ $code -ne 130 ] || scontrol requeue "$SLURM_JOB_ID"
exit $code
