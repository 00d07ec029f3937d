class Watching:
    def features(self):
        from components.tasks.watching import features

        return features


TASK = Watching()
