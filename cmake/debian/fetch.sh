#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Takes a Debian package without root: apt's own machinery downloads and verifies it, nothing is installed.
#
#   fetch.sh CACHE PACKAGE MINIMUM SUITE...
#
# The first suite that offers PACKAGE >= MINIMUM gives it. `system` is the machine's own release and
# `backports` its backports; other names are taken as they are. Leaves
#
#   CACHE/PACKAGE/usr          the package, with the libraries that are built from the same source package
#   CACHE/PACKAGE/runtime      what those libraries were built against, if the machine's own C library is older
#   CACHE/PACKAGE/provenance   "VERSION from SUITE"
#
# The last line printed is the provenance, or after a failure one sentence that says why.
set -eu
cache=$1 package=$2 minimum=$3
shift 3
log=$cache/apt/log

give_up() {
  echo "$*"
  exit 1
}

for tool in apt-get apt-cache apt-config dpkg dpkg-deb; do
  command -v $tool >/dev/null || give_up "not a Debian-like system (no $tool)"
done
if [ -e "$cache/$package/provenance" ]; then
  cat "$cache/$package/provenance"
  exit
fi
mkdir -p "$cache/apt"

# What the machine's own apt knows: mirror, components and keyring of its release, and how to reach the
# mirror (proxies, tolerance of old Release files). Not its hooks, not its other sources.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
targets=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages')
[ -n "$targets" ] || give_up "apt has no package sources"
ours=$(echo "$targets" | grep "^$codename " || echo "$targets" | head -n 1)
components=$(echo "$ours" | cut -d ' ' -f 2 | sort -u | tr '\n' ' ')
mirror=$(echo "$ours" | head -n 1 | cut -d ' ' -f 3)
entry=$(echo "$ours" | head -n 1 | cut -d ' ' -f 4 | sed 's/:[0-9]*$//')
keyring=$(sed -nE 's/^Signed-By: *(\/[^ ]*).*/\1/p; s/.*signed-by=(\/[^] ,]*).*/\1/p' "$entry" | head -n 1)
transport=$(apt-config dump | grep '^Acquire::' | grep -v '^Acquire::IndexTargets')

# use_suite NAME: lets apt-get and apt-cache see that suite alone, and nothing as installed.
use_suite() {
  suite=$1 state=$cache/apt/$1
  case $suite in
    system) suite=$codename ;;
    backports) suite=$codename-backports ;;
  esac
  export APT_CONFIG="$state/apt.conf"
  [ ! -e "$state/ready" ] || return 0
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  : >"$state/status"
  echo "deb ${keyring:+[signed-by=$keyring] }$mirror $suite $components" >"$state/sources.list"
  cat >"$APT_CONFIG" <<END
$transport
Acquire::Languages "none";
APT::Sandbox::User "";
Dir::Etc::Parts "/dev/null";
Dir::Etc::Main "/dev/null";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::SourceList "$state/sources.list";
Dir::State::Lists "$state/lists";
Dir::State::Status "$state/status";
Dir::Cache::Archives "$state/archives";
Dir::Cache::PkgCache "$state/pkgcache.bin";
Dir::Cache::SrcPkgCache "";
END
  apt-get -qq -o APT::Update::Error-Mode=any update >"$log" 2>&1 || return 1
  : >"$state/ready"
}

# field FIELD PACKAGE: of the suite in use; empty if it has no such package.
field() { apt-cache show --no-all-versions "$2" 2>>"$log" | sed -n "s/^$1: //p" | head -n 1; }
dependencies() { field Depends "$1" | tr ',' '\n' | sed -E 's/^ *([^ |:]+).*/\1/'; }
source_of() { echo "$(field Source "$1" | cut -d ' ' -f 1)" | grep . || echo "$1"; }

# unpack FOLDER PACKAGE...
unpack() {
  folder=$1
  shift
  mkdir -p "$folder" "$state/archives"
  rm -f "$state"/archives/*.deb
  (cd "$state/archives" && apt-get -qq download "$@") >"$log" 2>&1 || return 1
  for deb in "$state"/archives/*.deb; do dpkg-deb -x "$deb" "$folder"; done
  rm -f "$state"/archives/*.deb
}

# take: PACKAGE of the suite in use, whole or not at all.
take() {
  fresh=$cache/$package.fresh
  rm -rf "$fresh"
  siblings=
  runtime=
  for sibling in $(dependencies "$package"); do
    [ "$(source_of "$sibling")" = "$(source_of "$package")" ] || continue
    siblings="$siblings $sibling"
    runtime="$runtime $(dependencies "$sibling")"
  done
  unpack "$fresh" "$package" $siblings || return 1
  installed=$(dpkg-query -W -f '${Version}' libc6 2>>"$log" || echo 0)
  if [ -n "$runtime" ] && dpkg --compare-versions "$installed" lt "$(field Version libc6)"; then
    unpack "$fresh/runtime" $runtime || return 1
  fi
  echo "$(field Version "$package") from $suite" >"$fresh/provenance"
  rm -rf "${cache:?}/$package"
  mv "$fresh" "$cache/$package"
}

seen=
for name in "$@"; do
  if ! use_suite "$name"; then
    seen="$seen, $suite cannot be read ($(grep -m 1 '^E:' "$log" || echo "see $log"))"
    continue
  fi
  version=$(field Version "$package")
  if [ -z "$version" ]; then
    seen="$seen, $suite has none"
  elif dpkg --compare-versions "$version" lt "$minimum"; then
    seen="$seen, $suite has $version"
  else
    # A list that is older than the mirror names files that are gone: read it again, once.
    take || { rm "$state/ready" && use_suite "$name" && take; } ||
      give_up "$package $version of $suite cannot be downloaded ($(grep -m 1 '^E:' "$log" || echo "see $log"))"
    cat "$cache/$package/provenance"
    exit
  fi
done
give_up "no package $package >= $minimum: ${seen#, }"
