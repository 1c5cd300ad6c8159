# The controller in a container. The configuration and the store are mounted:
#
#   docker build -t lisp-sdn .
#   docker run --network host -v /etc/lisp-sdn:/etc/lisp-sdn:ro -v lisp-sdn:/var/lib/lisp-sdn lisp-sdn
#
# --network host: LISP control messages must arrive with the addresses of their senders.

ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# pytricia is C, and has no wheel for every platform.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev python3-venv
WORKDIR /src
COPY . .
# Ryu 4.34 is built with an older setuptools, see build-constraints.txt.
RUN python3 -m venv /opt/lisp-sdn \
 && PIP_CONSTRAINT=/src/build-constraints.txt PIP_BUILD_CONSTRAINT=/src/build-constraints.txt \
    /opt/lisp-sdn/bin/pip install --no-cache-dir -c constraints.txt .

FROM ${BASE}
RUN useradd --system --no-create-home lisp-sdn \
 && install -d -o lisp-sdn -m 0700 /var/lib/lisp-sdn \
 && install -d /etc/lisp-sdn
COPY --from=build /opt/lisp-sdn /opt/lisp-sdn
COPY packaging/ryu.conf /etc/lisp-sdn/ryu.conf
ENV PATH=/opt/lisp-sdn/bin:$PATH PYTHONUNBUFFERED=1
USER lisp-sdn
VOLUME /var/lib/lisp-sdn
# OpenFlow, LISP control, REST.
EXPOSE 6653/tcp 4342/udp 8080/tcp
HEALTHCHECK --interval=10s --timeout=5s CMD ["lispctl", "status"]
CMD ["ryu-manager", "--config-file", "/etc/lisp-sdn/ryu.conf", "lisp_sdn.apps"]
