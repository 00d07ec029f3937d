from serving.contract.task import Task


class Toy(Task):
    name = "toy"

    def open(self, directory, bundle, variant, threads):
        from serving.toy.model import Sides

        return Sides(directory, bundle, variant)

    def is_correct(self, prediction, expect):
        return prediction.get("side") == expect["side"]


TASK = Toy()
