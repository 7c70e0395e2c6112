# MLflow's server with drivers for PostgreSQL and S3. compose.yaml builds and starts it.
FROM python:3.11.15-slim-bookworm

# Within the range of pyproject.toml. Another version may want other tables: docs/how-to/team_server.md, "Upgrade".
ARG MLFLOW=3.17.2
ARG PSYCOPG=2.9.13
ARG BOTO=1.44.5

LABEL org.opencontainers.image.title="MLflow server of slws_lab" \
      org.opencontainers.image.licenses="Apache-2.0"

RUN python -m pip install --no-cache-dir "mlflow==${MLFLOW}" "psycopg2-binary==${PSYCOPG}" "boto3==${BOTO}"
COPY make_bucket.py /usr/local/lib/make_bucket.py
# The user needs a home and a name for packages that ask for them.
RUN mkdir --mode 0777 /home/mlflow
ENV HOME=/home/mlflow \
    USER=mlflow \
    PYTHONUNBUFFERED=1
USER 1000
WORKDIR /home/mlflow
EXPOSE 5000
ENTRYPOINT []
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000"]
