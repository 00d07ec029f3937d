# syntax=docker/dockerfile:1
# Two images from .ci/locks/, where every file that pip takes has its hash (but PyTorch's, see below):
#   docker build --target serving -t sluice-serving .             a bundle behind KServe; no training stack
#   docker build -t sluice .                                      the pipelines' steps and training, PyTorch for the CPU
#   docker build --build-arg TORCH=cu130 -t sluice:cuda .         the same, PyTorch for CUDA 13
# Both run as user 10001 on a read-only root: only /tmp and SLUICE_HOME are written to.
ARG PYTHON=docker.io/library/python:3.11-slim-bookworm

# What both final images begin with: the user, no installer.
FROM ${PYTHON} AS runtime
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/opt/sluice \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp SLUICE_HOME=/var/lib/sluice \
    MLFLOW_DISABLE_TELEMETRY=true GX_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 HF_HUB_DISABLE_TELEMETRY=1 \
    ORT_DISABLE_TELEMETRY=1
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel \
    && rm -rf /usr/lib/python3*/ensurepip /usr/local/lib/python3*/ensurepip /usr/share/python-wheels \
    && useradd --uid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin sluice \
    && install --directory --owner=10001 --group=10001 /var/lib/sluice
WORKDIR /opt/sluice

# The virtual environment without pip in it.
FROM ${PYTHON} AS serving-packages
WORKDIR /build
COPY .ci/locks locks
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/venv \
    && python -m pip --python /opt/venv/bin/python install --disable-pip-version-check --require-hashes --no-deps \
        -r locks/serving.txt \
    && find /opt/venv/lib -type d -path '*/site-packages/*' -name tests -prune -exec rm -r {} +

# Lists the Python packages of a virtual environment, in CycloneDX.
FROM ${PYTHON} AS sbom
COPY .ci/locks/sbom.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /opt/sbom \
    && python -m pip --python /opt/sbom/bin/python install --disable-pip-version-check --require-hashes --no-deps \
        -r sbom.txt
ENV LIST="/opt/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON --sv 1.6 -o /sbom.json"

FROM sbom AS serving-sbom
COPY --from=serving-packages /opt/venv /opt/venv
RUN ${LIST} /opt/venv/bin/python

FROM runtime AS serving
COPY --from=serving-packages /opt/venv /opt/venv
COPY --from=serving-sbom /sbom.json ./
COPY serving serving
RUN python -m compileall -q serving
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="sluice-serving" \
      org.opencontainers.image.description="Serves one bundle: v1 and v2 REST, gRPC, OpenAI-style routes" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
VOLUME /var/lib/sluice
EXPOSE 8080 8081
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "serving.core.ready"]
ENTRYPOINT ["python", "-m", "serving"]
CMD ["--help"]

FROM serving-packages AS trainer-packages
# The index of PyTorch's builds; name a mirror of yours with --build-arg TORCH_INDEX=…
# Triton, 700 MB, compiles for GPUs only; openai-whisper asks for it everywhere.
ARG TORCH=cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/${TORCH}
# Its version alone is pinned: each of its indexes has files of its own. The project's metadata alone is installed here, so
# that a change of code leaves this layer, the largest, as it was.
COPY constraints.txt pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip="python -m pip --python /opt/venv/bin/python install --disable-pip-version-check" \
    && locked="${pip} --require-hashes --no-deps --use-pep517 --no-build-isolation" \
    && ${locked} -r locks/build.txt \
    && ${locked} -r locks/trainer.txt \
    && ${pip} --extra-index-url "${TORCH_INDEX}" torch -c constraints.txt \
    && touch README.md && ${pip} --no-deps --no-build-isolation . \
    && if [ "${TORCH}" = cpu ]; then python -m pip --python /opt/venv/bin/python uninstall --yes triton; fi

FROM sbom AS trainer-sbom
COPY --from=trainer-packages /opt/venv /opt/venv
RUN ${LIST} /opt/venv/bin/python

FROM runtime AS trainer
COPY --from=trainer-packages /opt/venv /opt/venv
COPY --from=trainer-sbom /sbom.json ./
COPY components components
COPY pipelines pipelines
COPY serving serving
COPY load_tests load_tests
COPY feature_repo feature_repo
COPY manifests manifests
RUN python -m compileall -q components pipelines serving load_tests feature_repo
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="sluice" \
      org.opencontainers.image.description="The steps of Sluice's pipelines, training, and the command sluice" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
VOLUME /var/lib/sluice
USER 10001:10001
CMD ["sluice", "--help"]
