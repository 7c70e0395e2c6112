#!/usr/bin/env bash
# Every GPU test and benchmark in under 10 minutes, with torch, timm, safetensors, Triton and pandas (pytest for the tests).
#   benchmarks/gpu_check.sh [FOLDER FOR RESULTS]     PYTHON chooses the interpreter; exits 1 if anything was wrong or failed
# Without a GPU it rehearses: tiny shapes in Triton's interpreter, results into a temporary folder unless one is given.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TRITON_DEFAULT_FP_FUSION=1
wrong=0

if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    export SLWS_RESULTS=${1:-$root/benchmarks/results}
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
else
    export SLWS_RESULTS=${1:-$(mktemp -d)} TRITON_INTERPRET=1
    echo "No GPU: a rehearsal, results in $SLWS_RESULTS"
fi

step() { # name, seconds at most, command
    local name=$1 seconds=$2 began=$SECONDS code=0
    shift 2
    echo "== $name"
    timeout "$seconds" "$@" || code=$?
    echo "== $name: exit $code after $((SECONDS - began)) s"
    [ "$code" -eq 0 ] || wrong=1
}

tests_of_the_scan() {
    # without the project's own options, which ask for pytest-xdist
    step "tests of the scan" 170 "$python" -m pytest -c /dev/null --rootdir "$root" --noconftest --import-mode=importlib -q \
        -p no:cacheprovider "$root/tests/scan/test_scan_triton.py" "$root/tests/scan/test_scan_mamba_ssm.py" \
        "$root/tests/scan/test_triton_conv.py" "$root/tests/models/test_triton_norm.py"
    return "$wrong"
}

lab_is_here() { "$python" -c 'import slws_lab.tracking, slws_lab.training, xdist' 2>/dev/null; }

tests= # beside the check of correctness, since both mostly wait for the compiler
if [ -z "${TRITON_INTERPRET:-}" ] && "$python" -c 'import pytest'; then
    log=$(mktemp)
    {
        tests_of_the_scan &
        scan=$!
        if lab_is_here; then
            step "runs that share a GPU" 160 "$python" -m pytest -p no:cacheprovider -n 0 -m gpu "$root/tests/launch"
        fi
        wait "$scan" && exit "$wrong"
    } >"$log" 2>&1 &
    tests=$!
fi
step "correctness" 170 "$python" "$root/benchmarks/gpu/correctness.py"
if [ -n "$tests" ]; then
    wait "$tests" || wrong=1
    cat "$log" && rm "$log"
else
    echo "== tests of the scan: not run (no pytest, or a rehearsal: then see tests/scan)"
fi
if [ -n "$tests" ] && lab_is_here; then
    step "tests marked gpu" 50 "$python" -m pytest -p no:cacheprovider -n 0 -m gpu "$root/tests/data" "$root/tests/training"
else
    echo "== tests marked gpu: not run, the lab's own packages are missing here"
fi
step "scan" 70 "$python" "$root/benchmarks/gpu/scan_speed.py"
step "tiny model" 100 "$python" "$root/benchmarks/gpu/tiny.py"
step "packing" 60 "$python" "$root/benchmarks/gpu/packing.py"
step "models" 80 "$python" "$root/benchmarks/gpu/models.py"
step "tiles" 60 "$python" "$root/benchmarks/gpu/tiles.py"
exit "$wrong"
