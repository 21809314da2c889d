#!/bin/bash
# One training on many nodes under Slurm, one task a GPU.
#
#   FLAGS="--preset=uresnet --file=/path/train.h5 --iterations=5000 --minibatch_size=64 --run_id=first" sbatch --nodes=4 scripts/jobs/slurm.sh
#
# The same command again resumes, on any number of nodes. The batch is of all ranks together: --minibatch_size must be a
# multiple of the number of tasks.
#SBATCH --job-name=cosmictagger_tf
#SBATCH --time=03:00:00
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --requeue
# SIGTERM to all tasks two minutes before the end: the ranks finish their step, save, and leave.
#SBATCH --signal=TERM@120
set -euo pipefail

# The environment holds this package, and Horovod compiled against the MPI that srun starts (scripts/install_horovod --gpu).
source "${VENV:-.venv}/bin/activate"

export OMP_NUM_THREADS="$SLURM_CPUS_PER_TASK"
export HOROVOD_FUSION_THRESHOLD="${HOROVOD_FUSION_THRESHOLD:-67108864}" HOROVOD_CYCLE_TIME="${HOROVOD_CYCLE_TIME:-1}"
# h5py's locks fail on many parallel file systems, and the file is only read.
export HDF5_USE_FILE_LOCKING=FALSE

# MPI_TYPE: what `srun --mpi=list` names for your MPI: pmix for Open MPI, cray_shasta or pmi2 for MPICH.
exec srun --mpi="${MPI_TYPE:-pmix}" --cpu-bind=cores --kill-on-bad-exit=1 \
    python -m cosmictagger_tf.train --distributed=true --compute_mode=GPU ${FLAGS:?FLAGS holds the flags of train}
