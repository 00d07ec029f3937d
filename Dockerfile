# One image for the pipelines' steps and for serving: the same project, the same constraints file as everywhere.
FROM python:3.11-slim
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    MLFLOW_DISABLE_TELEMETRY=true GX_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 HF_HUB_DISABLE_TELEMETRY=1 \
    SLUICE_HOME=/var/lib/sluice
RUN useradd --uid 10001 --create-home sluice && mkdir /var/lib/sluice && chown sluice /var/lib/sluice
WORKDIR /opt/sluice
COPY constraints.txt pyproject.toml README.md ./
COPY components components
COPY pipelines pipelines
COPY serving serving
COPY load_tests load_tests
COPY feature_repo feature_repo
COPY manifests manifests
RUN python -m pip install torch -c constraints.txt && python -m pip install -e . -c constraints.txt
USER 10001
ENTRYPOINT ["python", "-m"]
CMD ["serving", "--help"]
