import json

import numpy as np
import torch

from components.common.spec import ModelSpec
from components.tasks.toy.data import read as table
from components.train.settings import TrainSettings
from serving.contract.files import atomic_dir

Settings = TrainSettings

STUDY = {}


class Base:
    def fetch(self, base_model, target):
        spec = ModelSpec(task="toy", base_model=base_model)
        with atomic_dir(target) as scratch:
            spec.write(scratch)
            (scratch / "weights.json").write_text("[0, 0, 0]")
        return spec


def read(base, corpus, examples, settings):
    return table(corpus, examples, "train"), table(corpus, examples, "val")


def learner(base, data, hyper, settings):
    return Side(base, data, hyper)


class Side:
    about, adapter, head, autocast, metric = "Logistic regression, from nothing.", False, None, False, "accuracy_val"

    def __init__(self, base, data, hyper):
        self.model, self.spec, self.hyper = torch.nn.Linear(2, 1), ModelSpec.read(base), hyper
        torch.nn.init.zeros_(self.model.weight), torch.nn.init.zeros_(self.model.bias)
        self.train, self.val = ((torch.tensor(d[["x", "y"]].to_numpy(), dtype=torch.float32),
                                 torch.tensor(d["side"].to_numpy(), dtype=torch.float32)) for d in data)  # fmt: skip

    def batches(self, epoch):
        rows = np.random.default_rng(epoch).permutation(len(self.train[1])).tolist()
        return [rows[at : at + self.hyper.batch] for at in range(0, len(rows), self.hyper.batch)]

    def loss(self, rows, rng, world):
        return torch.nn.functional.binary_cross_entropy_with_logits(
            self.model(self.train[0][rows])[:, 0], self.train[1][rows]
        )

    def measure(self):
        with torch.no_grad():
            said = self.model(self.val[0])[:, 0] > 0
        return {"accuracy_val": float((said == (self.val[1] > 0)).float().mean())}

    def sizes(self):
        return {"training_points": len(self.train[1])}

    def save(self, directory):
        self.spec.write(directory)
        weights = [*self.model.weight[0].tolist(), *self.model.bias.tolist()]
        (directory / "weights.json").write_text(json.dumps(weights))
