"""A training script as people have them: scikit-learn on its digits, a JSON line an epoch in log.txt, as DeiT's `main.py` writes it."""

import argparse
import json
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--penalty", default="l2", choices=["l2", "l1", "elasticnet"])
    parser.add_argument("--alpha", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--average", action="store_true", help="average the weights over the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", type=Path, required=True)
    args = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    train, val, train_labels, val_labels = train_test_split(images, labels, test_size=0.3, random_state=0)
    scaler = StandardScaler().fit(train)
    train, val = scaler.transform(train), scaler.transform(val)
    model = SGDClassifier(
        loss="log_loss", penalty=args.penalty, alpha=args.alpha, average=args.average, random_state=args.seed
    )
    for epoch in range(args.epochs):
        model.partial_fit(train, train_labels, classes=range(10))
        stats = {
            "train_acc1": 100 * model.score(train, train_labels),
            "test_acc1": 100 * model.score(val, val_labels),
            "epoch": epoch,
        }
        with (args.output_dir / "log.txt").open("a") as file:
            file.write(json.dumps(stats) + "\n")


if __name__ == "__main__":
    main()
