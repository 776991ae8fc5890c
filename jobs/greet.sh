#!/usr/bin/env bash
# The script of jobs/greet.toml: shows how arguments, quoted ones too, reach a script.
set -euo pipefail

usage() {
  echo "usage: greet.sh [--language en|fr|de] NAME" >&2
  exit 2
}

language=en
if [[ ${1-} == --language ]]; then
  [[ $# -ge 2 ]] || usage
  language=$2
  shift 2
fi
[[ $# -eq 1 ]] || usage

case $language in
  en) echo "Good morning, $1" ;;
  fr) echo "Bonjour, $1" ;;
  de) echo "Guten Morgen, $1" ;;
  *) usage ;;
esac
