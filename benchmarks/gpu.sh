#!/bin/sh
# Every measurement on a GPU, in at most ten minutes, into benchmarks/results/gpu-YYYY-MM-DD.json.
# benchmarks/gpu.sh --tiny runs the same code at toy sizes on a CPU, to see that it works.
cd "$(dirname "$0")/.." || exit 1
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec timeout 600 "$python" -W ignore benchmarks/gpu.py "$@"
