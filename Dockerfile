# vcd in a container: as small as its base, not as root, and it says when it is not well. docs/containers.md.
#
#   docker build -t vcd .                            from the lock file with its hashes
#   docker build -t vcd --build-arg BASE=IMAGE .     on another base; it needs Python 3.11 or later, with venv
#
# A folder `wheelhouse` beside this file, with all that requirements.lock names as wheels, is used in place of the index:
# so it is built where there is no network.
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
# What vcd stands on first: it changes seldom. One of libp2p's dependencies has no wheel for Linux, and is compiled.
COPY requirements.lock requirements-build.lock wheelhouse* ./
RUN set -eu; \
    python3 -m venv /opt/vcd; \
    pip="/opt/vcd/bin/python -m pip --disable-pip-version-check --no-cache-dir --no-input --quiet install"; \
    if ls ./*.whl >/dev/null 2>&1; then \
        $pip --no-index --no-deps ./*.whl; \
    else \
        apt-get update -qq; \
        apt-get install -y -qq --no-install-recommends gcc libc6-dev libgmp-dev; \
        $pip --require-hashes --only-binary :all: -r requirements-build.lock; \
        $pip --require-hashes --no-build-isolation --use-pep517 -r requirements.lock; \
    fi
COPY pyproject.toml README.md ./
COPY config config
COPY mls mls
COPY transport transport
COPY vcd vcd
RUN /opt/vcd/bin/python -m pip --disable-pip-version-check --no-cache-dir --no-input --quiet \
    install --no-index --no-deps --no-build-isolation .

FROM ${BASE}
RUN groupadd --system --gid 10001 vcd && useradd --system --uid 10001 --gid vcd --no-create-home --home-dir /vcd vcd \
    && install -d -o vcd -g vcd -m 0700 /vcd
COPY --from=build /opt/vcd /opt/vcd
# /vcd is the whole of a device: its settings, its state, its sockets. Never start two containers on one.
ENV PATH=/opt/vcd/bin:$PATH VCD_HOME=/vcd PYTHONUNBUFFERED=1
VOLUME /vcd
USER vcd
EXPOSE 4001
# A mailbox has no socket to ask: switch this off for one.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["vcd", "status"]
ENTRYPOINT ["vcd"]
CMD ["run"]
