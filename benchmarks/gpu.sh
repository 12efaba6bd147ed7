#!/usr/bin/env bash
# debft on a machine with an NVIDIA GPU, checked and measured in at most eight minutes on an H100 with 16 cores:
#
#   bash benchmarks/gpu.sh --data DIR [--out DIR] [--small]
#
# DIR holds real text: mnli/, squad2/, xnli/ and tokenizer/deberta-v3/spm.model. PYTHON names the interpreter (default: python3); it
# needs debft's dependencies, debft itself is taken from this checkout. --small tries every part on the CPU. Exit code 1 where a part
# failed.
#
# A machine that cannot fetch packages needs these wheels, all pure Python but xxhash, and what `pip check` names beside them:
#   debft                 datasets dill evaluate fsspec multiprocess xxhash
#   --attention triton    disentangled_flash (triton comes with torch; it needs gcc or clang and Python's headers)
#   the tests             pytest pytest-xdist execnet pluggy iniconfig pygments packaging
set -euo pipefail
export HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"  # one GPU, where there are several
exec "${PYTHON:-python3}" "$(dirname "${BASH_SOURCE[0]}")/gpu.py" "$@"
