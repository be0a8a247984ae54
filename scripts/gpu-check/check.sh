#!/usr/bin/env bash
# Unpacks the loads that scripts/gpu-check/pack.mjs made, those that are new, and runs the check (options: --help).
# Results are written to results/ beside the loads, and to each further --out.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$here/unpacked"

unpack() {
  if command -v xz >/dev/null; then
    tar -xJf "$1" -C "$here/unpacked"
  else
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1" "$here/unpacked"
  fi
  touch "$1.unpacked"
}

jobs=()
for part in "$here"/load-*/*.tar.xz; do
  [ "$part.unpacked" -nt "$part" ] && continue
  unpack "$part" &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done

export LONGVLM_ONNXRUNTIME="$here/unpacked/onnxruntime/libonnxruntime.so.1"
[ -x "$here/unpacked/ffmpeg" ] && export FFMPEG_PATH="$here/unpacked/ffmpeg"
exec "$here/unpacked/node" "$here/unpacked/longvlm/scripts/gpu-check/run.mjs" --out "$here/results" "$@"
