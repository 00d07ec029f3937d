"""Toy: on which side of a line does a point lie? Learned from nothing, without an adapter."""


class Toy:
    def base(self):
        from components.tasks.toy.learning import Base

        return Base()

    def data(self):
        from components.tasks.toy import data

        return data

    def features(self):
        return None

    def learning(self):
        from components.tasks.toy import learning

        return learning

    def merging(self):
        return None

    def quantising(self):
        from components.tasks.toy import quantising

        return quantising

    def packing(self):
        from components.tasks.toy import packing

        return packing

    def evaluating(self):
        from components.tasks.toy import evaluating

        return evaluating

    def gating(self):
        from components.tasks.toy import gating

        return gating

    def drilling(self):
        return None


TASK = Toy()
