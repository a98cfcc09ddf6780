# Targets: operator, jobs, train (what a cluster runs beside vLLM's own image) and serve-cpu (stands in for vLLM's image
# where no image can be pulled). Each heavier one lies on the layers of the lighter: jobs < train < serve-cpu.
# Versions are uv.lock's. `make images` builds them with Docker or, where there is no engine, buildah.
ARG BASE=docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS base
RUN groupadd --gid 1000 moaa && useradd --uid 1000 --gid 1000 --create-home --shell /usr/sbin/nologin moaa
# Bytecode lies in the image: the root file system is read-only, and compiling at each start costs more than the imports.
ENV PATH=/opt/moaa/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    UV_PROJECT_ENVIRONMENT=/opt/moaa \
    UV_PYTHON=/usr/local/bin/python3.11 \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_CACHE_DIR=/uv-cache
WORKDIR /build
COPY pyproject.toml uv.lock images/uv.sh ./

FROM base AS wheel
COPY LICENSE README.md ./
COPY moaa moaa
COPY jobs jobs
COPY operator operator
RUN --mount=type=cache,target=/uv-cache --mount=type=cache,target=/tools \
    ./uv.sh build --quiet --wheel --out-dir /wheel

FROM base AS operator-env
RUN --mount=type=cache,target=/uv-cache --mount=type=cache,target=/tools \
    ./uv.sh sync --quiet --frozen --no-install-project --extra operator

FROM base AS jobs-env
RUN --mount=type=cache,target=/uv-cache --mount=type=cache,target=/tools \
    ./uv.sh sync --quiet --frozen --no-install-project --extra data

# What evaluations check answers with; trainings need none of it. PUNKT=1 brings NLTK's sentence data, which two of
# IFEval's rules need, from NLTK's own server.
FROM jobs-env AS harness-env
ARG PUNKT=0
ENV NLTK_DATA=/opt/nltk_data
RUN --mount=type=cache,target=/uv-cache --mount=type=cache,target=/tools \
    ./uv.sh sync --quiet --frozen --inexact --no-install-project --extra data --extra harness
RUN mkdir -p "$NLTK_DATA" && if test "$PUNKT" = 1; then \
    /opt/moaa/bin/python -m nltk.downloader -d "$NLTK_DATA" punkt_tab && test -d "$NLTK_DATA/tokenizers/punkt_tab"; fi

# CUDA=0 leaves NVIDIA's libraries (3.4 GB) out of images for machines without a GPU; stubs let torch load without them.
FROM jobs-env AS torch-env
ARG CUDA=1
RUN --mount=type=cache,target=/uv-cache --mount=type=cache,target=/tools \
    ./uv.sh sync --quiet --frozen --no-install-project --extra kuberay --extra trackers

FROM torch-env AS stubs
ARG CUDA=1
RUN if test "$CUDA" != 1; then apt-get update -qq && \
    apt-get install -qq --no-install-recommends gcc libc6-dev binutils >/dev/null; fi
COPY images/cuda_stubs.py ./
RUN mkdir /stubs && if test "$CUDA" != 1; then python cuda_stubs.py /opt/moaa/lib/python3.11/site-packages/torch /stubs; fi

# With GPUs Triton compiles its link to NVIDIA's driver when a training starts.
FROM torch-env AS train-env
ARG CUDA=1
RUN if test "$CUDA" = 1; then apt-get update -qq && \
    apt-get install -qq --no-install-recommends gcc libc6-dev >/dev/null && rm -rf /var/lib/apt/lists/*; fi
COPY --from=stubs /stubs/ /opt/moaa/lib/python3.11/site-packages/torch/lib/

FROM train-env AS serve-cpu-env
ARG CUDA=1
RUN apt-get update -qq && apt-get install -qq --no-install-recommends libgomp1 libnuma1 >/dev/null && \
    rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/uv-cache --mount=type=cache,target=/tools \
    ./uv.sh sync --quiet --frozen --inexact --no-install-project --extra local

FROM operator-env AS operator
COPY --from=wheel /wheel/ ./
COPY images/inventory.sh ./
RUN --mount=type=cache,target=/tools ./uv.sh pip install --quiet --no-cache --no-deps --python /opt/moaa/bin/python *.whl && \
    ./inventory.sh /opt/moaa /usr/share/doc/moaa && rm -r /build/*
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MoAA operator" \
      org.opencontainers.image.description="Runs MoAA resources on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 1000:1000
WORKDIR /home/moaa
ENTRYPOINT ["python", "-m", "moaa_operator"]

FROM harness-env AS jobs
COPY --from=wheel /wheel/ ./
COPY images/inventory.sh ./
RUN --mount=type=cache,target=/tools ./uv.sh pip install --quiet --no-cache --no-deps --python /opt/moaa/bin/python *.whl && \
    ./inventory.sh /opt/moaa /usr/share/doc/moaa && rm -r /build/*
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MoAA jobs" \
      org.opencontainers.image.description="Stages of a MoAA that call models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 1000:1000
WORKDIR /home/moaa
ENTRYPOINT ["python", "-m", "moaa_jobs"]

FROM train-env AS train
COPY --from=wheel /wheel/ ./
COPY images/inventory.sh ./
RUN --mount=type=cache,target=/tools ./uv.sh pip install --quiet --no-cache --no-deps --python /opt/moaa/bin/python *.whl && \
    ./inventory.sh /opt/moaa /usr/share/doc/moaa && rm -r /build/*
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="MoAA training" \
      org.opencontainers.image.description="Ray head, workers and submitter of a MoAA's training stages" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 1000:1000
WORKDIR /home/moaa
ENTRYPOINT ["python", "-m", "moaa_jobs"]

FROM serve-cpu-env AS serve-cpu
COPY images/inventory.sh ./
RUN --mount=type=cache,target=/tools ./inventory.sh /opt/moaa /usr/share/doc/moaa && rm -r /build/*
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vLLM on CPUs" \
      org.opencontainers.image.description="Stands in for the upstream vLLM image on machines without a GPU" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 1000:1000
WORKDIR /home/moaa
ENTRYPOINT ["python", "-m", "vllm.entrypoints.openai.api_server"]
