# slws on NVIDIA GPUs, with mamba-ssm and causal-conv1d built for its torch. In the project's folder:
#   docker build --file docker/gpu.Dockerfile --tag slws-gpu .
#   docker run --rm --gpus all --shm-size 8g --user "$(id -u):$(id -g)" --volume "$PWD:/project" slws-gpu doctor

# CUDA: the compiler's version; its major one must be that of the torch that pip chooses.
ARG CUDA=13.2.1

FROM nvidia/cuda:${CUDA}-devel-ubuntu24.04 AS builder
# TORCH: what is asked of pip, such as "torch==2.8.0" for an older driver (then with CUDA=12.8.1).
# JOBS: compilers at a time; each takes some GB of memory.
ARG TORCH="torch>=2.6"
ARG EXTRAS=""
ARG JOBS=4
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ git python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/slws
ENV PATH=/opt/slws/bin:${PATH}
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
# hadolint ignore=DL3013
RUN mkdir slws_lab \
 && touch slws_lab/__init__.py \
 && python -m pip install --no-cache-dir "${TORCH}" ".${EXTRAS:+[$EXTRAS]}" \
 && rm -r build slws_lab
# Both are compiled against the torch that is there; it refuses a compiler of another major version. Without FORCE_BUILD they
# would look on the web for wheels made for another torch. slws needs their compiled modules only, not what they depend on.
RUN python -m pip install --no-cache-dir ninja==1.13.0 wheel==0.45.1 \
 && MAX_JOBS="${JOBS}" MAMBA_FORCE_BUILD=TRUE CAUSAL_CONV1D_FORCE_BUILD=TRUE \
    python -m pip install --no-cache-dir --no-build-isolation --no-deps mamba-ssm==2.3.2.post1 causal-conv1d==1.7.0 \
 && python -c "import torch, selective_scan_cuda, causal_conv1d_cuda"
COPY slws_lab slws_lab
RUN python -m pip install --no-cache-dir --no-deps --force-reinstall .

# torch brings CUDA's libraries; only the driver comes from the host. A C compiler stays: Triton and the CPU's kernel need it.
FROM ubuntu:24.04
LABEL org.opencontainers.image.title="slws_lab" \
      org.opencontainers.image.description="Ablation studies for Vision Mamba with Stochastic Layer-Wise Shuffle, on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ git libc6-dev python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY --from=builder /opt/slws /opt/slws
# The reasons are in cpu.Dockerfile.
RUN mkdir --mode 0777 /home/slws \
 && git config --system --add safe.directory /project
ENV PATH=/opt/slws/bin:${PATH} \
    HOME=/home/slws \
    USER=slws \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /project
HEALTHCHECK NONE
ENTRYPOINT ["slws"]
CMD ["--help"]
