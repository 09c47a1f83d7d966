#!/usr/bin/env bash
# Installs the Debian packages that building needs and that are missing.
# As root or with a sudo that asks nothing it installs them; else it prints the one line to run.
set -euo pipefail

packages=(libhdf5-dev libdnnl-dev libopenblas-dev liblapacke-dev libssl-dev libzip-dev zlib1g-dev libpng-dev
  libturbojpeg0-dev pkg-config "$@")
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" -eq 0 ]; then
  sudo=""
elif sudo -n true 2>/dev/null; then
  sudo="sudo"
else
  echo "Some packages are missing. Run this once, then try again:" >&2
  echo "  sudo sh -c '$command'" >&2
  exit 1
fi
echo "Installing: ${missing[*]}"
$sudo env DEBIAN_FRONTEND=noninteractive sh -c "$command" >/dev/null
