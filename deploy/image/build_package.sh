#!/bin/sh
# Build stage: the wheel of this tree, installed into /opt/keycast, with static files collected and everything compiled.
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1

/build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /build/dist .
/build/bin/pip --python /opt/keycast/bin/python install --quiet --no-compile --no-deps /build/dist/keycast-*.whl
/build/bin/pip --python /opt/keycast/bin/python check

# Settings of production want secrets; these are forgotten with this line.
cd /tmp
SECRET_KEY=$(head -c 48 /dev/urandom | base64) KEYCAST_FIELD_KEY=$(head -c 32 /dev/urandom | base64) \
    KEYCAST_STATIC_ROOT=/opt/keycast/static KEYCAST_DATA_DIR=/tmp /opt/keycast/bin/keycast collectstatic --noinput --verbosity 0

# They are served from there, in production (whitenoise), and only the demo and development look for the originals.
find /opt/keycast/static -name '*.map' -delete

# The root is read-only later on: what is not compiled now is compiled at every start.
/opt/keycast/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/keycast/lib
