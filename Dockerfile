# The service (docs/serve.md): docker build -t mien . && docker run --rm -p 127.0.0.1:8000:8000 mien --no-auth
# Pin the base image by digest where you build: --build-arg BASE=python:3.11.11-slim-bookworm@sha256:…
ARG BASE=python:3.11.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY recipes recipes
RUN python -m venv /opt/mien \
    && /opt/mien/bin/pip install '.[serve]' \
    # the detector's weights are converted once, here: at run time nothing is written
    && MIEN_CACHE=/opt/mien/cache /opt/mien/bin/python -c 'from mien import Reader; Reader()' \
    # and what the page at / needs is fetched once, checked by its hash
    && MIEN_CACHE=/opt/mien/cache /opt/mien/bin/mien page /tmp/page \
    && rm -r /tmp/page \
    && /opt/mien/bin/python -m compileall -q /opt/mien/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="mien" \
      org.opencontainers.image.description="Apparent facial expressions over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/mien /opt/mien
ENV PATH=/opt/mien/bin:$PATH MIEN_CACHE=/opt/mien/cache PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
ENTRYPOINT ["mien", "serve", "--host", "0.0.0.0"]
