#!/bin/bash -l
# One training on many nodes of an ALCF machine (Polaris: 4 GPUs a node, PBS, PALS).
#
#   qsub -A PROJECT -l select=8 -v FLAGS="--flagfile=flags/polaris.flags --minibatch_size=32 --file=/path/train.h5 --run_id=polaris" scripts/jobs/polaris.pbs.sh
#
# The same command again resumes, on any number of nodes. The batch is of all ranks together: --minibatch_size must be a
# multiple of 4 x nodes.
#PBS -l walltime=03:00:00
#PBS -l filesystems=home:eagle
#PBS -l place=scatter
#PBS -q prod
#PBS -k doe
#PBS -j oe
set -euo pipefail
cd "$PBS_O_WORKDIR"

# The environment holds this package, and Horovod compiled against the machine's MPI and NCCL:
#   module use /soft/modulefiles; module load conda PrgEnv-gnu; scripts/install_horovod --gpu
source "${VENV:-.venv}/bin/activate"

NODES="$(sort -u "$PBS_NODEFILE" | wc -l)"
RANKS_A_NODE="${RANKS_A_NODE:-4}"
# 32 cores a node, 64 hardware threads: each rank keeps the cores beside its GPU.
DEPTH="${DEPTH:-8}"

export OMP_NUM_THREADS="$DEPTH"
export NCCL_NET_GDR_LEVEL=PHB NCCL_CROSS_NIC=1 NCCL_COLLNET_ENABLE=1
# Everything is ready to be averaged at once: the network's message is cut by bandwidth alone.
export HOROVOD_FUSION_THRESHOLD="${HOROVOD_FUSION_THRESHOLD:-67108864}" HOROVOD_CYCLE_TIME="${HOROVOD_CYCLE_TIME:-1}"
# h5py's locks do not work on Lustre, and the file is only read.
export HDF5_USE_FILE_LOCKING=FALSE

# PBS sends SIGTERM before the walltime's end; the ranks finish their step, save, and leave.
exec mpiexec -n "$((NODES * RANKS_A_NODE))" --ppn "$RANKS_A_NODE" --depth "$DEPTH" --cpu-bind depth \
    python -m cosmictagger_tf.train --distributed=true --compute_mode=GPU ${FLAGS:?FLAGS holds the flags of train}
