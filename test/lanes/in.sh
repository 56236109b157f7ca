#!/bin/bash
# in.sh [--write] ROOT COMMAND...: run a command in a Debian root. It sees the working tree,
# read-only, as /src. What it writes is gone with it, but for the lab's own cache and for
# the directory /kept; with --write the root itself is changed.
. "$(dirname "$0")/lib.sh"
write=; [ "${1:-}" != --write ] || { write=1; shift; }
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
root=$1; shift
[ -d "$root/usr" ] || die "$root is no Debian root"
mkdir -p "$root"/{src,kept,var/cache/nova-evac-lab}
# A name of its own: a lab outside, when it goes down, ends every process with its name in
# the environment, and sees those in here. Seven letters: a lab's name has twelve at most,
# and "_nova" may follow.
name=$(basename "$root"); name=${name:0:7}
# pivot_root and not chroot: the labs make namespaces of their own in it. The shell stays
# as the pid namespace's first process, to reap those that lost their parents.
bound env -i NOVA_EVAC_LAB="$name" SOURCE="$SOURCE" TREE="$root" WRITE="$write" HOME=/root LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" \
    DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -c '
        set -e
        mount --bind "$TREE" "$TREE"; cd "$TREE"
        for d in kept var/cache/nova-evac-lab; do mount --bind $d $d; done
        mount --bind "$SOURCE" src; mount -o remount,bind,ro src
        mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev
        mount -t tmpfs -o mode=1777 tmpfs dev/shm
        for d in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs $d; done
        if [ -z "$WRITE" ]; then
            mount -t tmpfs -o mode=700 tmpfs root; mount -t tmpfs tmpfs var/log
            mount -o remount,bind,ro .
        fi
        pivot_root . .; umount -l .; cd /src
        unset SOURCE TREE WRITE
        trap "exit 143" TERM INT HUP
        "$@" <&0 & wait $!' in "$@"
