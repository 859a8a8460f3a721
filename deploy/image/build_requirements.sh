#!/bin/sh
# Build stage: Python, and what the lock pins, into /opt/keycast. A layer of its own, as it changes seldom.
set -eu
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1

apt-get update -qq
apt-get install -y -qq --no-install-recommends binutils ca-certificates python3 python3-venv >/dev/null

python3 -m venv /build
/build/bin/pip install --quiet --no-deps --require-hashes -r requirements/build.txt
python3 -m venv --without-pip /opt/keycast
/build/bin/pip --python /opt/keycast/bin/python install --quiet --no-compile --no-deps --only-binary :all: \
    --require-hashes -r requirements/production.txt

site=/opt/keycast/lib/python3.11/site-packages
# Pages are in English alone, and nothing here is compiled or tested again.
find "$site" -type d -name locale -prune | while read -r folder; do
    find "$folder" -mindepth 1 -maxdepth 1 -type d ! -name en -exec rm -rf {} +
done
# No app of it is installed, and no provider but their base is imported.
find "$site/allauth/socialaccount/providers" -mindepth 1 -maxdepth 1 -type d ! -name base -exec rm -rf {} +
find "$site" -name '*.so*' -type f -exec strip --strip-unneeded {} +
find "$site" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
rm -rf "$site/django/contrib/gis" "$site/django/conf/locale/"[!e_]* "$site/django/conf/locale/"e[!n]*
find "$site" \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' -o -name '*.po' -o -name '*.pyi' \) -delete
