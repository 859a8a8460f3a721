# One image for every process: the command is the process (demo, serve, bunker, qcluster, signer, cosigner, or any other
# command of docs/operations.md). docs/deployment.md says how to run it. .ci/image carries out these very lines in a chroot
# where no container engine runs; it knows the instructions used here and refuses others.
ARG DEBIAN=12.12-slim

FROM debian:${DEBIAN} AS build
WORKDIR /src
COPY deploy/image/build_requirements.sh deploy/image/
COPY requirements/production.txt requirements/build.txt requirements/
RUN sh deploy/image/build_requirements.sh
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY requirements/ requirements/
COPY keycast/ keycast/
COPY accounts/ accounts/
COPY keys/ keys/
COPY bunker/ bunker/
COPY templates/ templates/
COPY static/ static/
COPY deploy/image/build_package.sh deploy/image/
RUN sh deploy/image/build_package.sh

FROM debian:${DEBIAN}
COPY deploy/image/system.sh /tmp/
RUN sh /tmp/system.sh
COPY --from=build /opt/keycast /opt/keycast
COPY deploy/image/healthcheck.py /usr/local/bin/keycast-healthcheck
# Nothing is written but below /var/lib/keycast, /run/keycast-* and /tmp: run it with a read-only root.
ENV PATH=/opt/keycast/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KEYCAST_DATA_DIR=/var/lib/keycast \
    KEYCAST_STATIC_ROOT=/opt/keycast/static \
    KEYCAST_LISTEN_HOST=0.0.0.0
WORKDIR /var/lib/keycast
VOLUME /var/lib/keycast
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["keycast-healthcheck"]
ENTRYPOINT ["keycast"]
CMD ["serve"]
