# slws on a CPU: docker build -f docker/cpu.Dockerfile -t slws . && docker run -v "$PWD:/project" slws run quickstart
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends git g++ libc6-dev && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml README.md LICENSE /src/
COPY slws_lab /src/slws_lab
RUN python -m pip install --no-cache-dir /src
WORKDIR /project
ENTRYPOINT ["slws"]
