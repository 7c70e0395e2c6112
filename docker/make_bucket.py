"""Makes the bucket that MLflow's artifacts go to, unless it is there; compose.yaml runs it before MLflow starts."""

from __future__ import annotations

import os
import sys

import boto3
from botocore.exceptions import ClientError


def make(address: str, bucket: str) -> bool:
    """Make a bucket; return whether it was not there yet.

    Args:
        address: The store's own, such as http://store:7070. Who asks, boto3 takes from the environment.
        bucket: Its name.
    """
    client = boto3.client("s3", endpoint_url=address)
    if any(one["Name"] == bucket for one in client.list_buckets()["Buckets"]):
        return False
    try:
        client.create_bucket(Bucket=bucket)
    except ClientError as error:  # another one was faster
        if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            raise
        return False
    return True


if __name__ == "__main__":
    made = make(os.environ["MLFLOW_S3_ENDPOINT_URL"], sys.argv[1])
    print(f"bucket {sys.argv[1]}: {'made' if made else 'was there'}")
