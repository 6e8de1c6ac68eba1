# The command line, the flows and a worker's `prefect flow-run execute`, for a user without rights:
#   docker build -t unsafe-weights:0.1.0 .
#   docker run --rm --shm-size=1g -v /data/uwm:/data unsafe-weights:0.1.0 uwm run run.yaml --store store
# Libraries are those of uv.lock, torch with CUDA among them; a GPU needs NVIDIA's container toolkit and --gpus all.
FROM python:3.12-slim AS build
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# Such as --build-arg EXTRAS="--extra s3 --extra gs --extra signing"; of pyproject.toml.
ARG EXTRAS="--extra s3"
# Libraries first: a change of the code alone leaves this layer as it is.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project $EXTRAS
COPY README.md LICENSE prefect.toml ./
COPY data_specs data_specs
COPY tasks tasks
COPY flows flows
RUN uv sync --frozen --no-dev $EXTRAS && .venv/bin/python -m compileall -q data_specs tasks flows

FROM python:3.12-slim
RUN useradd --uid 1000 --create-home uwm && install -d -o uwm -g uwm /data
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 UWM_STORE=/data/store
USER 1000
WORKDIR /data
CMD ["uwm", "--help"]
