#!/bin/sh
# Final stage: Python, accounts and folders; and nothing that only a person at a keyboard would read.
set -eu
export DEBIAN_FRONTEND=noninteractive

apt-get update -qq
apt-get upgrade -y -qq >/dev/null
apt-get install -y -qq --no-install-recommends ca-certificates python3 >/dev/null
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale \
    /tmp/system.sh
mkdir -p /var/cache/apt/archives/partial

# Fixed ids: volumes, sockets (KEYCAST_SIGNER_USERS) and security contexts name them.
groupadd --gid 10001 keycast
useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/keycast --shell /usr/sbin/nologin keycast
useradd --uid 10002 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin keycast-signer
useradd --uid 10003 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin keycast-cosigner
install -d -o keycast -g keycast -m 0700 /var/lib/keycast
install -d -o keycast-cosigner -g keycast -m 0700 /var/lib/keycast-cosigner
# An empty volume takes over owner and mode of the folder that it is mounted on.
install -d -o keycast-signer -g keycast -m 0710 /run/keycast-signer
install -d -o keycast-cosigner -g keycast -m 0710 /run/keycast-cosigner
