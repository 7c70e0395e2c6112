# slws on a CPU. In the project's folder:
#   docker build --file docker/cpu.Dockerfile --tag slws .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/project" slws run quickstart
FROM python:3.11.15-slim-bookworm

# EXTRAS: more of pyproject.toml's extras, such as "ray" or "ray,hub".
# TORCH_INDEX: PyTorch's package index for the CPU (pytorch.org names it); without it torch brings CUDA libraries of some GB.
ARG EXTRAS=""
ARG TORCH_INDEX=""

LABEL org.opencontainers.image.title="slws_lab" \
      org.opencontainers.image.description="Ablation studies for Vision Mamba with Stochastic Layer-Wise Shuffle, on a CPU" \
      org.opencontainers.image.licenses="Apache-2.0"

# The compiler makes the scan's kernel on first use; git tells which commit a run was made by.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ git libc6-dev \
 && rm -rf /var/lib/apt/lists/*

# Dependencies lie in a layer of their own, so that a change of the code does not fetch them again. They are those of an
# empty package, of which nothing may stay: what is built of the code would take its files for newer.
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
# hadolint ignore=DL3013
RUN mkdir slws_lab \
 && touch slws_lab/__init__.py \
 && python -m pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".${EXTRAS:+[$EXTRAS]}" \
 && rm -r build slws_lab
COPY slws_lab slws_lab
RUN python -m pip install --no-cache-dir --no-deps --force-reinstall .

# Any user id can run it (--user): the home holds only caches, USER names who has no entry in the list of users, and
# git reads a project that belongs to somebody else.
RUN mkdir --mode 0777 /home/slws \
 && git config --system --add safe.directory /project
ENV HOME=/home/slws \
    USER=slws \
    PYTHONUNBUFFERED=1
USER 1000
WORKDIR /project
HEALTHCHECK NONE
ENTRYPOINT ["slws"]
CMD ["--help"]
