#!/bin/sh
# Prints a C++ header that holds the text of FILE as the constant NAME: embed.sh NAME FILE
set -eu
if grep -q ')EMBED"' "$2"; then
  echo "embed.sh: $2 holds the end mark of the string" >&2
  exit 1
fi
printf '// Made from %s when building.\n#pragma once\n\nnamespace cache_sync {\n\n' "$(basename "$2")"
# A string literal need not hold more than 64 KiB, so it is given in parts.
awk -v name="$1" '
  BEGIN { printf "inline constexpr char %s[] =\n    R\"EMBED(", name }
  size > 16000 { printf ")EMBED\"\n    R\"EMBED("; size = 0 }
  { print; size += length($0) + 1 }
  END { print ")EMBED\";" }' "$2"
printf '\n}  // namespace cache_sync\n'
